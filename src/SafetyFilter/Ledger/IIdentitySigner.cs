namespace SafetyFilter.Ledger;

/// <summary>
/// An identity whose private key is kept elsewhere: in a key service or a hardware module. The host registers one with its services, and
/// the ledger then reads and makes no key file.
/// </summary>
/// <remarks>
/// Asked twice at each start of the ledger, in this order, and never again: once for the key, once for a signature over the certificate of
/// the run's own key. Each answer is awaited up to <c>Ledger:Signing:IdentityPatience</c> and checked. An exception, a late or a
/// wrong answer refuses the start before an epoch is begun; an implementation that wants to try again does so inside that time.
/// </remarks>
public interface IIdentitySigner
{
    /// <summary>The name under which it signs, e.g. <c>safetyfilter/identity</c>: not empty, without space and plus. Part of what auditors pin.</summary>
    string Name { get; }

    /// <summary>The Ed25519 public key, 32 bytes. The same at every start: another key is another identity, which auditors see as a finding.</summary>
    ValueTask<ReadOnlyMemory<byte>> GetPublicKeyAsync(CancellationToken cancellationToken);

    /// <summary>The Ed25519 signature (RFC 8032, not prehashed), 64 bytes, over the message: UTF-8 text of less than 1 KiB.</summary>
    ValueTask<ReadOnlyMemory<byte>> SignAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken);
}
