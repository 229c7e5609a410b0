using System.Globalization;

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
}
