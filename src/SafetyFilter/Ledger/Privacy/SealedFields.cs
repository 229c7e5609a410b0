using System.Buffers.Binary;
using System.Security.Cryptography;
using Google.Protobuf;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger.Privacy;

internal enum SealState
{
    /// <summary>The record has no sealed fields.</summary>
    None,

    /// <summary>They were merged into the record.</summary>
    Opened,

    /// <summary>Their key was destroyed: they are gone for good.</summary>
    Erased,

    /// <summary>The key file does not know the key: another sidecar's file, or a key that a loss of power took.</summary>
    UnknownKey,

    /// <summary>The ciphertext is not what this key sealed for this record.</summary>
    Forged,
}

/// <summary>Encrypts parts of a record for one subject, and reads them again. The layout is lineage.proto's SealedFields.</summary>
internal static class SealedFields
{
    public const int NonceLength = 12;
    public const int TagLength = 16;
    public const int AssociatedLength = 28;

    /// <summary>Decrypts a record's sealed fields and merges them into it.</summary>
    public static SealState Open(DecisionRecord record, SubjectKeyFile keys)
    {
        if (record.Sealed is not { } box)
        {
            return SealState.None;
        }

        switch (keys.TryGetKey(box.KeyId.Span, out var key))
        {
            case SlotState.Destroyed:
                return SealState.Erased;
            case SlotState.Live:
                break;
            default:
                return SealState.UnknownKey;
        }

        if (box.Nonce.Length != NonceLength || box.Ciphertext.Length < TagLength || record.StreamId.Length != 16)
        {
            return SealState.Forged;
        }

        try
        {
            var text = new byte[box.Ciphertext.Length - TagLength];
            Span<byte> associated = stackalloc byte[AssociatedLength];
            Associate(record.StreamId.Span, record.Epoch, record.TimeUnixNanos, associated);
            using var aes = new AesGcm(key, TagLength);
            aes.Decrypt(box.Nonce.Span, box.Ciphertext.Span[..text.Length], box.Ciphertext.Span[text.Length..], text, associated);
            record.MergeFrom(text);
            return SealState.Opened;
        }
        catch (Exception error) when (error is AuthenticationTagMismatchException or InvalidProtocolBufferException)
        {
            return SealState.Forged;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(key);
        }
    }

    /// <summary>Encrypts into <paramref name="ciphertext"/>, which has room for the text and the tag.</summary>
    public static void Encrypt(
        ReadOnlySpan<byte> key, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> text, ReadOnlySpan<byte> associated, Span<byte> ciphertext)
    {
        using var aes = new AesGcm(key, TagLength);
        aes.Encrypt(nonce, text, ciphertext[..text.Length], ciphertext[text.Length..], associated);
    }

    /// <summary>What ties a ciphertext to its record: stream, epoch, time.</summary>
    public static void Associate(ReadOnlySpan<byte> streamId, uint epoch, ulong timeUnixNanos, Span<byte> associated)
    {
        streamId.CopyTo(associated);
        BinaryPrimitives.WriteUInt32LittleEndian(associated[16..], epoch);
        BinaryPrimitives.WriteUInt64LittleEndian(associated[20..], timeUnixNanos);
    }
}
