using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using NSec.Cryptography;

namespace SafetyFilter.Ledger.Proof;

/// <summary>What a key signs: plain notes, or witnessed checkpoints with the witness's time. The values are C2SP's.</summary>
internal enum NoteSignatureType : byte
{
    Ed25519 = 0x01,

    /// <summary>tlog-cosignature, cosignature/v1.</summary>
    Cosignature = 0x04,
}

/// <summary>Signs notes under a name: a key in memory, or an identity that the host keeps elsewhere.</summary>
internal interface INoteSigner
{
    NoteVerifier Verifier { get; }

    /// <summary>64 bytes of Ed25519 over the message.</summary>
    byte[] Sign(ReadOnlySpan<byte> message);
}

/// <summary>
/// The public half: name, type and Ed25519 key. Its text form is C2SP's verifier key, <c>name+hash+base64(type || key)</c>, where
/// the hash is the first 4 bytes of SHA-256(name || 0x0A || type || key) in hexadecimal.
/// </summary>
internal sealed class NoteVerifier
{
    private readonly PublicKey _key;

    private NoteVerifier(string name, NoteSignatureType type, ReadOnlySpan<byte> key)
    {
        Name = name;
        Type = type;
        _key = PublicKey.Import(SignatureAlgorithm.Ed25519, key, KeyBlobFormat.RawPublicKey);
        byte[] typed = [(byte)type, .. key];
        KeyId = BinaryPrimitives.ReadUInt32BigEndian(SHA256.HashData([.. Encoding.UTF8.GetBytes(name), 0x0A, .. typed]));
        Text = string.Create(CultureInfo.InvariantCulture, $"{name}+{KeyId:x8}+{Convert.ToBase64String(typed)}");
    }

    public string Name { get; }

    public NoteSignatureType Type { get; }

    public uint KeyId { get; }

    public string Text { get; }

    public static NoteVerifier Of(string name, NoteSignatureType type, ReadOnlySpan<byte> publicKey) => IsName(name)
        ? new NoteVerifier(name, type, publicKey)
        : throw new ArgumentException($"'{name}' is no name of a key: it is empty, or has a space or a plus.", nameof(name));

    public static bool TryParse(string text, [NotNullWhen(true)] out NoteVerifier? verifier)
    {
        verifier = null;
        var parts = text.Trim().Split('+', 3);
        Span<byte> typed = stackalloc byte[33];
        if (parts.Length != 3 || !IsName(parts[0]) || !Convert.TryFromBase64String(parts[2], typed, out var length) || length != typed.Length
            || (NoteSignatureType)typed[0] is not (NoteSignatureType.Ed25519 or NoteSignatureType.Cosignature)
            || !PublicKey.TryImport(SignatureAlgorithm.Ed25519, typed[1..], KeyBlobFormat.RawPublicKey, out _))
        {
            return false;
        }

        var found = new NoteVerifier(parts[0], (NoteSignatureType)typed[0], typed[1..]);
        verifier = string.Equals(found.Text, text.Trim(), StringComparison.Ordinal) ? found : null;
        return verifier is not null;
    }

    public bool Verify(ReadOnlySpan<byte> message, ReadOnlySpan<byte> signature) => SignatureAlgorithm.Ed25519.Verify(_key, message, signature);

    private static bool IsName(string name) => name.Length > 0 && !name.Any(static c => c == '+' || char.IsWhiteSpace(c) || char.IsControl(c));
}

/// <summary>An Ed25519 key in memory. Disposal wipes it.</summary>
internal sealed class NoteKey : INoteSigner, IDisposable
{
    private const string FilePrefix = "PRIVATE+KEY+";
    private const int SeedLength = 32;

    private readonly Key _key;

    private NoteKey(string name, NoteSignatureType type, Key key)
    {
        _key = key;
        Verifier = NoteVerifier.Of(name, type, key.PublicKey.Export(KeyBlobFormat.RawPublicKey));
    }

    public NoteVerifier Verifier { get; }

    /// <summary>A new key that cannot leave this process.</summary>
    public static NoteKey Generate(string name, NoteSignatureType type = NoteSignatureType.Ed25519) =>
        new(name, type, Key.Create(SignatureAlgorithm.Ed25519));

    /// <summary>
    /// Reads the key of a file, or makes one (mode 0600) when there is none. The content is C2SP's signer key,
    /// <c>PRIVATE+KEY+name+hash+base64(type || seed)</c>, on one line.
    /// </summary>
    /// <exception cref="LedgerException">The file holds no such key, or cannot be read or made.</exception>
    public static NoteKey LoadOrCreate(string path, string name, NoteSignatureType type = NoteSignatureType.Ed25519)
    {
        try
        {
            if (!File.Exists(path))
            {
                Create(path, name, type);
            }

            return Parse(File.ReadAllText(path), type)
                ?? throw new LedgerException($"'{path}' holds no Ed25519 signer key ({FilePrefix}name+hash+base64). Restore it; a new one would be another identity.");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new LedgerException($"The signing key '{path}' cannot be read or made: {error.Message} Check the path and its permissions.", error);
        }
    }

    public byte[] Sign(ReadOnlySpan<byte> message) => SignatureAlgorithm.Ed25519.Sign(_key, message);

    public void Dispose() => _key.Dispose();

    private static void Create(string path, string name, NoteSignatureType type)
    {
        var seed = RandomNumberGenerator.GetBytes(SeedLength);
        using var key = new NoteKey(name, type, Import(seed));
        var text = string.Create(
            CultureInfo.InvariantCulture, $"{FilePrefix}{name}+{key.Verifier.KeyId:x8}+{Convert.ToBase64String([(byte)type, .. seed])}\n");
        CryptographicOperations.ZeroMemory(seed);
        if (SpoolFolder.Replace(path, Encoding.ASCII.GetBytes(text), UnixFileMode.UserRead | UnixFileMode.UserWrite) is not 0 and var error)
        {
            throw new LedgerException($"The signing key '{path}' cannot be made ({NativeFile.Describe(error)}). Check the disk for space and errors.");
        }
    }

    private static NoteKey? Parse(string text, NoteSignatureType type)
    {
        text = text.Trim();
        var parts = text.StartsWith(FilePrefix, StringComparison.Ordinal) ? text[FilePrefix.Length..].Split('+', 3) : [];
        var typed = new byte[1 + SeedLength];
        if (parts.Length != 3 || !Convert.TryFromBase64String(parts[2], typed, out var length) || length != typed.Length || typed[0] != (byte)type)
        {
            return null;
        }

        var key = new NoteKey(parts[0], type, Import(typed.AsSpan(1)));
        CryptographicOperations.ZeroMemory(typed);
        return string.Equals(parts[1], key.Verifier.KeyId.ToString("x8", CultureInfo.InvariantCulture), StringComparison.Ordinal) ? key : null;
    }

    private static Key Import(ReadOnlySpan<byte> seed) => Key.Import(SignatureAlgorithm.Ed25519, seed, KeyBlobFormat.RawPrivateKey);
}
