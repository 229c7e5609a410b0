using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;

namespace SafetyFilter.Ledger.Proof;

/// <summary>
/// A text and signatures over it, as c2sp.org/signed-note has them: the text ends with a line feed; after an empty line each
/// signature is a line <c>— name base64(key id || signature)</c>.
/// </summary>
internal sealed class SignedNote
{
    private const string SignatureStart = "\u2014 ";

    // c2sp.org/tlog-cosignature: what a witness signs begins with these lines, and its signature with the time, 8 bytes.
    private const string CosignatureHeader = "cosignature/v1\ntime ";
    private const int TimeLength = 8;
    private const int MaxSignatures = 100;

    private readonly List<(string Name, byte[] Signature)> _signatures = [];

    private SignedNote(string text)
    {
        Text = text;
    }

    /// <summary>What is signed, with its last line feed.</summary>
    public string Text { get; }

    /// <summary>A text of lines, each ended by a line feed and none empty at its end, signed once.</summary>
    public static SignedNote Sign(string text, INoteSigner signer)
    {
        var note = new SignedNote(text);
        note.Add(signer.Verifier, signer.Sign(Encoding.UTF8.GetBytes(text)));
        return note;
    }

    public static bool TryParse(string note, [NotNullWhen(true)] out SignedNote? parsed)
    {
        parsed = null;
        var end = note.LastIndexOf("\n\n", StringComparison.Ordinal);
        if (end < 0 || end + 2 >= note.Length || !note.EndsWith('\n') || note.Any(static c => c < ' ' && c != '\n'))
        {
            return false;
        }

        var found = new SignedNote(note[..(end + 1)]);
        foreach (var line in note[(end + 2)..^1].Split('\n'))
        {
            var parts = line.Split(' ');
            var bytes = new byte[line.Length];
            if (parts.Length != 3 || !line.StartsWith(SignatureStart, StringComparison.Ordinal) || found._signatures.Count == MaxSignatures
                || !Convert.TryFromBase64String(parts[2], bytes, out var length) || length < sizeof(uint))
            {
                return false;
            }

            found._signatures.Add((parts[1], bytes[..length]));
        }

        parsed = found._signatures.Count > 0 ? found : null;
        return parsed is not null;
    }

    /// <summary>Adds a witness's signature, which says that it saw nothing inconsistent before this time.</summary>
    public void Cosign(INoteSigner witness, DateTimeOffset time)
    {
        var seconds = time.ToUnixTimeSeconds();
        var signature = witness.Sign(Cosigned(seconds));
        var timed = new byte[TimeLength + signature.Length];
        BinaryPrimitives.WriteInt64BigEndian(timed, seconds);
        signature.CopyTo(timed, TimeLength);
        Add(witness.Verifier, timed);
    }

    /// <summary>Whether that key signed this text.</summary>
    public bool IsSignedBy(NoteVerifier key)
    {
        foreach (var (name, signature) in _signatures)
        {
            if (string.Equals(name, key.Name, StringComparison.Ordinal) && BinaryPrimitives.ReadUInt32BigEndian(signature) == key.KeyId
                && Verify(key, signature.AsSpan(sizeof(uint))))
            {
                return true;
            }
        }

        return false;
    }

    public override string ToString()
    {
        var text = new StringBuilder(Text).Append('\n');
        foreach (var (name, signature) in _signatures)
        {
            text.Append(SignatureStart).Append(name).Append(' ').Append(Convert.ToBase64String(signature)).Append('\n');
        }

        return text.ToString();
    }

    private bool Verify(NoteVerifier key, ReadOnlySpan<byte> signature) => key.Type == NoteSignatureType.Cosignature
        ? signature.Length > TimeLength && key.Verify(Cosigned(BinaryPrimitives.ReadInt64BigEndian(signature)), signature[TimeLength..])
        : key.Verify(Encoding.UTF8.GetBytes(Text), signature);

    private byte[] Cosigned(long seconds) =>
        Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{CosignatureHeader}{seconds}\n{Text}"));

    private void Add(NoteVerifier key, ReadOnlySpan<byte> signature)
    {
        var bytes = new byte[sizeof(uint) + signature.Length];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, key.KeyId);
        signature.CopyTo(bytes.AsSpan(sizeof(uint)));
        _signatures.Add((key.Name, bytes));
    }
}
