using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Ledger;

/// <summary>The identity that the host handed in, as the start needs it: no answer is waited for without end, and none is believed unchecked.</summary>
internal sealed class HostIdentity : INoteSigner
{
    private const string Remedy =
        "No epoch was begun. See that the key service can be reached and lets this host sign with Ed25519, or raise Ledger:Signing:IdentityPatience.";

    private readonly IIdentitySigner _signer;
    private readonly TimeSpan _patience;

    private HostIdentity(IIdentitySigner signer, TimeSpan patience, NoteVerifier verifier)
    {
        _signer = signer;
        _patience = patience;
        Verifier = verifier;
    }

    public NoteVerifier Verifier { get; }

    /// <summary>Asks for the public key.</summary>
    /// <exception cref="LedgerException">There is none in time, or it is no Ed25519 key, or the name cannot stand in a note.</exception>
    public static HostIdentity Of(IIdentitySigner signer, TimeSpan patience)
    {
        var key = Answer(signer, patience, "give its public key", signer.GetPublicKeyAsync);
        try
        {
            return new HostIdentity(signer, patience, NoteVerifier.Of(signer.Name, NoteSignatureType.Ed25519, key));
        }
        catch (Exception error) when (error is ArgumentException or FormatException)
        {
            throw new LedgerException(
                $"The identity '{signer.Name}' of {signer.GetType().Name} has a public key of {key.Length} bytes that is none of Ed25519 (32 bytes), " +
                $"or a name that cannot stand in a note ({error.Message}). {Remedy}",
                error);
        }
    }

    /// <exception cref="LedgerException">There is no signature in time, or it is not by the public key.</exception>
    public byte[] Sign(ReadOnlySpan<byte> message)
    {
        var copy = message.ToArray();
        var signature = Answer(_signer, _patience, "sign", stop => _signer.SignAsync(copy, stop));

        // Written down unchecked, it would be a finding in every audit of this run.
        return Verifier.Verify(message, signature)
            ? signature
            : throw new LedgerException(
                $"The identity '{_signer.Name}' of {_signer.GetType().Name} gave {signature.Length} bytes that are no signature by its public key {Verifier.Text}. {Remedy}");
    }

    private static byte[] Answer(
        IIdentitySigner signer, TimeSpan patience, string deed, Func<CancellationToken, ValueTask<ReadOnlyMemory<byte>>> ask)
    {
        using var stop = new CancellationTokenSource();
        try
        {
            // On another thread: what looks asynchronous may block in its first step.
            var asked = Task.Run(async () => await ask(stop.Token), stop.Token);
            return asked.WaitAsync(patience, CancellationToken.None).GetAwaiter().GetResult().ToArray();
        }
        catch (Exception error)
        {
            // TimeoutException may also be the signer's own; its words are as good.
            stop.Cancel();
            throw new LedgerException(
                $"The identity '{signer.Name}' of {signer.GetType().Name} did not {deed} within {patience.TotalSeconds:0.###} s ({error.Message}). {Remedy}", error);
        }
    }
}
