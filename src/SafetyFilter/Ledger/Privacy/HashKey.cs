using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace SafetyFilter.Ledger.Privacy;

/// <summary>
/// The key by which records show identifiers as hashes: equal values have equal hashes, and whoever lacks the key can neither
/// tell nor try values. Thread-safe.
/// </summary>
internal sealed class HashKey
{
    /// <summary>Bytes of a hash as records have it: "h1:" and 22 characters of base64url.</summary>
    public const int TextLength = 25;

    private const int Size = 32;
    private const int HashLength = 16;
    private const int IdLength = 8;

    // A path, and an id of the longest that requests may send.
    private const int LongestMessage = 320;

    // Setting a key up costs more than hashing an id with it: once per thread.
    [ThreadStatic]
    private static (HashKey? Owner, IncrementalHash? Hmac) _mine;

    private readonly byte[] _key;
    private readonly byte[] _id;

    public HashKey(ReadOnlySpan<byte> key)
    {
        _key = key.ToArray();
        _id = SHA256.HashData(key)[..IdLength];
    }

    /// <summary>What records call the key: the first 8 bytes of SHA-256 over it.</summary>
    public ReadOnlySpan<byte> Id => _id;

    /// <summary>Reads a key file: 32 bytes in base64 on one line.</summary>
    /// <exception cref="LedgerException">It cannot be read, or is no key.</exception>
    public static HashKey Load(string path)
    {
        try
        {
            return new HashKey(Decode(File.ReadAllText(path).Trim()) ?? throw new LedgerException(
                $"'{path}' is no hash key. It must hold {Size} bytes in base64 on one line; restore it, or remove it to begin with a new key."));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new LedgerException($"The hash key '{path}' cannot be read: {error.Message}", error);
        }
    }

    /// <summary>Reads a key file, or makes one that only its owner may read.</summary>
    /// <exception cref="LedgerException">It can be neither read nor made.</exception>
    public static HashKey LoadOrCreate(string path)
    {
        if (File.Exists(path))
        {
            return Load(path);
        }

        var key = RandomNumberGenerator.GetBytes(Size);
        KeyFile.Create(path, Encoding.ASCII.GetBytes(Convert.ToBase64String(key) + "\n"));
        return new HashKey(key);
    }

    /// <summary>The hash of a value as the records of this key show it under a path of <c>RecordPaths.Hashable</c>.</summary>
    public string Of(string path, string value)
    {
        Span<byte> text = stackalloc byte[TextLength];
        Write(Encoding.UTF8.GetBytes(path), Encoding.UTF8.GetBytes(value), text);
        return Encoding.ASCII.GetString(text);
    }

    /// <summary>Writes <see cref="TextLength"/> bytes. Allocates nothing after a thread's first.</summary>
    public void Write(ReadOnlySpan<byte> path, ReadOnlySpan<byte> value, Span<byte> text)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        Span<byte> message = stackalloc byte[LongestMessage];
        var hmac = Mine();
        if (path.Length + 1 + value.Length <= message.Length)
        {
            // Each call into the library costs as much as the hashing: one instead of three.
            path.CopyTo(message);
            message[path.Length] = 0;
            value.CopyTo(message[(path.Length + 1)..]);
            hmac.AppendData(message[..(path.Length + 1 + value.Length)]);
        }
        else
        {
            hmac.AppendData(path);
            hmac.AppendData([0]);
            hmac.AppendData(value);
        }

        hmac.GetHashAndReset(hash);
        "h1:"u8.CopyTo(text);
        Base64Url.EncodeToUtf8(hash[..HashLength], text[3..TextLength]);
    }

    private IncrementalHash Mine()
    {
        if (_mine.Owner != this)
        {
            _mine.Hmac?.Dispose();
            _mine = (this, IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, _key));
        }

        return _mine.Hmac!;
    }

    private static byte[]? Decode(string text)
    {
        var key = new byte[Size];
        return Convert.TryFromBase64String(text, key, out var length) && length == Size ? key : null;
    }
}
