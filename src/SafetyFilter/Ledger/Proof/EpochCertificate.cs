using System.Globalization;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger.Proof;

/// <summary>
/// What the identity signs at an epoch's start: which key speaks for the stream in this epoch, and on which tree it builds.
/// <code>
/// safetyfilter epoch key
/// stream {stream id, 32 hex digits}
/// epoch {number}
/// key {verifier key of the epoch}
/// boot {boot nonce, hex}
/// previous {tree size} {root, base64}
/// </code>
/// </summary>
internal static class EpochCertificate
{
    /// <summary>The name under which an identity signs unless its file says another.</summary>
    public const string IdentityName = "safetyfilter/identity";

    public static string Text(Guid streamId, uint epoch, string epochKey, ReadOnlySpan<byte> bootNonce, ulong previousSize, in TreeHash previousRoot) =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"safetyfilter epoch key\nstream {streamId:N}\nepoch {epoch}\nkey {epochKey}\nboot {Convert.ToHexStringLower(bootNonce)}\n" +
            $"previous {previousSize} {previousRoot.ToBase64()}\n");

    /// <summary>The identity and the key that an epoch's start names. False when they cannot be read, or the key is not for this stream and epoch.</summary>
    public static bool TryRead(EpochStart start, Guid streamId, out NoteVerifier identity, out NoteVerifier key, out SignedNote certificate)
    {
        (identity, key, certificate) = (null!, null!, null!);
        return NoteVerifier.TryParse(start.Identity, out identity!) && NoteVerifier.TryParse(start.EpochKey, out key!)
            && key.Name == CheckpointText.KeyNameOf(streamId, start.Epoch) && SignedNote.TryParse(start.Certificate, out certificate!)
            && start.PreviousRoot.Length == TreeHash.Length;
    }

    /// <summary>Whether the certificate is for the start's key, run and tree, and by its identity.</summary>
    public static bool IsGood(EpochStart start, Guid streamId, NoteVerifier identity, SignedNote certificate) =>
        certificate.Text == Text(streamId, start.Epoch, start.EpochKey, start.BootNonce.Span, start.PreviousSequence, TreeHash.Read(start.PreviousRoot.Span))
        && certificate.IsSignedBy(identity);
}
