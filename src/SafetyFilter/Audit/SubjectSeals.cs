using System.Security.Cryptography;
using SafetyFilter.Ledger.Privacy;

namespace SafetyFilter.Audit;

/// <summary>Opens sealed fields with a file of subject keys. Thread-safe.</summary>
internal sealed class SubjectSeals(SubjectKeyFile keys)
{
    private readonly Lock _lock = new();

    /// <summary>A <see cref="SealOpener"/>.</summary>
    public byte[]? Open(ReadOnlySpan<byte> keyId, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> ciphertext, ReadOnlySpan<byte> associatedData)
    {
        byte[]? key;
        lock (_lock)
        {
            if (keys.TryGetKey(keyId, out key) != SlotState.Live)
            {
                return null;
            }
        }

        if (nonce.Length != SealedFields.NonceLength || ciphertext.Length < SealedFields.TagLength)
        {
            return null;
        }

        try
        {
            var text = new byte[ciphertext.Length - SealedFields.TagLength];
            using var aes = new AesGcm(key, SealedFields.TagLength);
            aes.Decrypt(nonce, ciphertext[..text.Length], ciphertext[text.Length..], text, associatedData);
            return text;
        }
        catch (AuthenticationTagMismatchException)
        {
            return null;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(key);
        }
    }
}
