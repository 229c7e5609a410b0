using System.Security.Cryptography;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Ledger;

/// <summary>The key that signs one epoch's checkpoints, and the identity's word for it. The key never leaves memory and is wiped on disposal.</summary>
internal sealed class EpochSigner : IDisposable
{
    private const string IdentityKeyFile = "identity.key";
    private const string IdentityPublicFile = "identity.pub";

    private EpochSigner(NoteKey key, string identity, string certificate, byte[] bootNonce)
    {
        Key = key;
        Identity = identity;
        Certificate = certificate;
        BootNonce = bootNonce;
    }

    public NoteKey Key { get; }

    /// <summary>The identity's verifier key.</summary>
    public string Identity { get; }

    /// <summary>The signed note that certifies <see cref="Key"/>.</summary>
    public string Certificate { get; }

    public byte[] BootNonce { get; }

    /// <summary>Makes the epoch's key and has it certified.</summary>
    /// <param name="identity">Who certifies; null: the key of the file that the options name.</param>
    /// <exception cref="LedgerException">The identity's key cannot be read or made.</exception>
    public static EpochSigner Create(
        SigningOptions options, string root, INoteSigner? identity, Guid streamId, uint epoch, ulong previousSize, in TreeHash previousRoot)
    {
        NoteKey? fromFile = null;
        var nonce = RandomNumberGenerator.GetBytes(16);
        var key = NoteKey.Generate(CheckpointText.KeyNameOf(streamId, epoch));
        try
        {
            var file = options.IdentityKeyFile.Length > 0 ? options.IdentityKeyFile : Path.Combine(root, IdentityKeyFile);
            identity ??= fromFile = NoteKey.LoadOrCreate(file, EpochCertificate.IdentityName);
            var text = EpochCertificate.Text(streamId, epoch, key.Verifier.Text, nonce, previousSize, previousRoot);
            var certificate = SignedNote.Sign(text, identity).ToString();
            Publish(Path.Combine(root, IdentityPublicFile), identity.Verifier.Text);
            return new EpochSigner(key, identity.Verifier.Text, certificate, nonce);
        }
        catch
        {
            key.Dispose();
            throw;
        }
        finally
        {
            // Needed once a run: no reason to keep it where a memory dump finds it.
            fromFile?.Dispose();
        }
    }

    public void Dispose() => Key.Dispose();

    private static void Publish(string path, string verifier)
    {
        var content = verifier + "\n";
        if (File.Exists(path) && string.Equals(File.ReadAllText(path), content, StringComparison.Ordinal))
        {
            return;
        }

        if (SpoolFolder.Replace(path, System.Text.Encoding.UTF8.GetBytes(content)) is not 0 and var error)
        {
            throw new LedgerException($"'{path}' cannot be made durable ({NativeFile.Describe(error)}). Check the disk.");
        }
    }
}
