using System.Buffers.Binary;
using System.Security.Cryptography;

namespace SafetyFilter.Ledger.Privacy;

internal enum SlotState
{
    /// <summary>All zero: nothing was written here.</summary>
    Free = 0,

    Live = 1,

    /// <summary>The key is zeros; the slot stays, so that the subject's old key id is never given a key again.</summary>
    Destroyed = 2,

    /// <summary>Half written, or damaged.</summary>
    Unreadable = 3,
}

/// <summary>
/// The bytes of a file of subject keys, all numbers little-endian. Header, 64 bytes: "SFSUBJEC", version (4), 0 (4), secret for key ids (32),
/// 0 (12), CRC32C over all before. Slots of 64 bytes: key id (16), key (32), made at Unix seconds (8), state (4), CRC32C over all before.
/// </summary>
internal static class SubjectSlot
{
    public const int Length = 64;
    public const int HeaderLength = 64;
    public const int IdLength = 16;
    public const int KeyLength = 32;
    public const int SecretLength = 32;

    private const int CrcAt = Length - sizeof(uint);
    private const int StateAt = CrcAt - sizeof(uint);
    private const int CreatedAt = IdLength + KeyLength;
    private const int SecretAt = 16;
    private const uint Version = 1;

    private static ReadOnlySpan<byte> Magic => "SFSUBJEC"u8;

    public static byte[] NewHeader()
    {
        var header = new byte[HeaderLength];
        Magic.CopyTo(header);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(8), Version);
        RandomNumberGenerator.Fill(header.AsSpan(SecretAt, SecretLength));
        Seal(header);
        return header;
    }

    /// <summary>The secret that key ids are made with.</summary>
    public static bool TryReadHeader(ReadOnlySpan<byte> header, out byte[] secret)
    {
        secret = [];
        if (header.Length != HeaderLength || !header.StartsWith(Magic) || !IsWhole(header) || BinaryPrimitives.ReadUInt32LittleEndian(header[8..]) != Version)
        {
            return false;
        }

        secret = header.Slice(SecretAt, SecretLength).ToArray();
        return true;
    }

    public static void Write(Span<byte> slot, UInt128 id, ReadOnlySpan<byte> key, long createdUnixSeconds, SlotState state)
    {
        BinaryPrimitives.WriteUInt128BigEndian(slot, id);
        key.CopyTo(slot[IdLength..]);
        BinaryPrimitives.WriteInt64LittleEndian(slot[CreatedAt..], createdUnixSeconds);
        BinaryPrimitives.WriteUInt32LittleEndian(slot[StateAt..], (uint)state);
        Seal(slot);
    }

    /// <summary>The same slot without its key.</summary>
    public static void Destroy(Span<byte> slot)
    {
        slot.Slice(IdLength, KeyLength).Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(slot[StateAt..], (uint)SlotState.Destroyed);
        Seal(slot);
    }

    public static SlotState Read(ReadOnlySpan<byte> slot, out UInt128 id)
    {
        id = BinaryPrimitives.ReadUInt128BigEndian(slot);
        return !slot.ContainsAnyExcept((byte)0) ? SlotState.Free
            : !IsWhole(slot) ? SlotState.Unreadable
            : (SlotState)BinaryPrimitives.ReadUInt32LittleEndian(slot[StateAt..]) switch
            {
                SlotState.Live => SlotState.Live,
                SlotState.Destroyed => SlotState.Destroyed,
                _ => SlotState.Unreadable,
            };
    }

    public static ReadOnlySpan<byte> KeyOf(ReadOnlySpan<byte> slot) => slot.Slice(IdLength, KeyLength);

    /// <summary>
    /// What the ids of all keys of a subject come from; 32 bytes. A subject whose key was destroyed and who comes again gets the
    /// key of the next generation.
    /// </summary>
    public static void RootOf(ReadOnlySpan<byte> secret, ReadOnlySpan<byte> subject, Span<byte> root) => HMACSHA256.HashData(secret, subject, root);

    /// <summary>Generation 0 is the first half of the root, which is HMAC-SHA256(secret, subject); later ones are HMAC-SHA256(root, generation).</summary>
    public static UInt128 IdOf(ReadOnlySpan<byte> root, int generation)
    {
        if (generation == 0)
        {
            return BinaryPrimitives.ReadUInt128BigEndian(root);
        }

        Span<byte> number = stackalloc byte[sizeof(int)];
        Span<byte> hash = stackalloc byte[HMACSHA256.HashSizeInBytes];
        BinaryPrimitives.WriteInt32LittleEndian(number, generation);
        HMACSHA256.HashData(root, number, hash);
        return BinaryPrimitives.ReadUInt128BigEndian(hash);
    }

    private static void Seal(Span<byte> block) => BinaryPrimitives.WriteUInt32LittleEndian(block[CrcAt..], Crc(block));

    private static bool IsWhole(ReadOnlySpan<byte> block) => BinaryPrimitives.ReadUInt32LittleEndian(block[CrcAt..]) == Crc(block);

    private static uint Crc(ReadOnlySpan<byte> block) => ~SegmentFormat.Crc32C(uint.MaxValue, block[..CrcAt]);
}
