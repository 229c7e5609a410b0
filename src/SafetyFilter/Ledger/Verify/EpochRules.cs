using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger.Verify;

/// <summary>Which run of the sidecar a record is of, how runs follow each other, and who speaks for them.</summary>
internal sealed class EpochRules(Guid stream, VerifierOptions options, Verdict verdict, in RecordFields first)
{
    // From which sequence on which epoch ran, in ascending order.
    private readonly List<(ulong From, uint Epoch)> _epochs = [(first.Sequence, first.Epoch)];
    private readonly Dictionary<uint, Guid> _nonces = [];
    private ulong _decisions;
    private ulong _decisionsAtCheckpoint;

    // Whether every record of the running epoch was seen.
    private bool _isComplete;

    public uint FirstEpoch { get; } = first.Epoch;

    public uint Epoch { get; private set; } = first.Epoch;

    public bool HasEnded { get; private set; }

    /// <summary>The key that signs for the running epoch; null when its start is not here or names none.</summary>
    public NoteVerifier? Key { get; private set; }

    /// <summary>Whether an identity that the auditor trusts certified the key.</summary>
    public bool IsKeyTrusted { get; private set; }

    /// <summary>The stream's identity, as the first of its epochs here names it.</summary>
    public NoteVerifier? Identity { get; private set; }

    /// <summary>Epochs whose start names no key.</summary>
    public int UnsignedEpochs { get; private set; }

    /// <summary>The epoch that ran when this sequence came first.</summary>
    public uint EpochOf(ulong sequence) => _epochs[Math.Max(_epochs.FindLastIndex(one => one.From <= sequence), 0)].Epoch;

    public void CountDecision() => _decisions++;

    /// <summary>Records were jumped over.</summary>
    public void Miss() => _isComplete = false;

    /// <summary>A record other than an EpochStart.</summary>
    /// <param name="afterMissing">Records right before it are not there: the EpochStart may be among them.</param>
    public void Continue(in RecordPlace place, uint epoch, bool afterMissing)
    {
        if (epoch == Epoch && !HasEnded)
        {
            return;
        }

        if (!afterMissing || epoch <= Epoch)
        {
            verdict.Find(FindingKind.EpochChain, place, HasEnded
                ? $"follows the end of epoch {Epoch} without an EpochStart"
                : $"is of epoch {epoch}, but epoch {Epoch} is running");
        }

        Begin(epoch, place.Sequence, complete: false);
    }

    /// <summary>Takes the next EpochStart's word for how the epoch before it ended, which was deleted while this was read.</summary>
    public void SkipTo(in RecordPlace place, uint epoch, EpochStart? start)
    {
        Begin(start?.PreviousEpoch ?? epoch, place.Sequence, complete: false);
        HasEnded = start?.PreviousEndedCleanly ?? false;
    }

    public void End(in RecordPlace place, EpochEnd end)
    {
        HasEnded = true;
        if (_isComplete && end.Decisions != _decisions)
        {
            verdict.Find(FindingKind.EpochChain, place, $"the epoch's end counts {end.Decisions} decisions; {_decisions} are here");
        }
    }

    public void Count(in RecordPlace place, Checkpoint checkpoint)
    {
        // It counts what its tree covers, and others append while it is made.
        if (_isComplete && (checkpoint.Decisions > _decisions || checkpoint.Decisions < _decisionsAtCheckpoint))
        {
            verdict.Find(FindingKind.EpochChain, place,
                $"the checkpoint counts {checkpoint.Decisions} decisions of the epoch; {_decisions} are here, and the one before counts {_decisionsAtCheckpoint}");
        }

        _decisionsAtCheckpoint = checkpoint.Decisions;
    }

    /// <summary>Whether this start, which came again, is of another run than the one seen first.</summary>
    public bool IsClone(EpochStart start) => _nonces.TryGetValue(start.Epoch, out var nonce) && nonce != NonceOf(start);

    public void Start(in RecordPlace place, in RecordFields fields, EpochStart start, bool hasRecords, bool afterMissing)
    {
        if (IsClone(start))
        {
            verdict.Find(FindingKind.ClonedVolume, place, $"epoch {start.Epoch} began twice, with different boot nonces: a copy of the volume was started");
        }

        CheckChain(place, fields, start, hasRecords, afterMissing);
        if (fields.Sequence > 1 && !start.PreviousEndedCleanly)
        {
            verdict.Note(
                $"stream {stream:N}: epoch {start.PreviousEpoch} did not end cleanly; " +
                $"epoch {fields.Epoch} follows at sequence {fields.Sequence}, {start.BytesCutOff} bytes of a torn tail cut off");
        }

        if (start.ContinuesStream.Length == 16)
        {
            verdict.Note($"stream {stream:N} continues stream {new Guid(start.ContinuesStream.Span, bigEndian: true):N}, whose tree could not be continued");
        }

        Begin(fields.Epoch, fields.Sequence, complete: true);
        _nonces[fields.Epoch] = NonceOf(start);
        CheckKey(place, start);
    }

    private static Guid NonceOf(EpochStart start) => start.BootNonce.Length == 16 ? new Guid(start.BootNonce.Span) : Guid.Empty;

    private void Begin(uint epoch, ulong sequence, bool complete)
    {
        if (epoch != Epoch)
        {
            _epochs.Add((sequence, epoch));
            Key = null;
            IsKeyTrusted = false;
        }

        Epoch = epoch;
        HasEnded = false;
        _decisions = _decisionsAtCheckpoint = 0;
        _isComplete = complete;
    }

    private void CheckChain(in RecordPlace place, in RecordFields fields, EpochStart start, bool hasRecords, bool afterMissing)
    {
        if (start.PreviousSequence != fields.Sequence - 1)
        {
            verdict.Find(FindingKind.EpochChain, place, $"names {start.PreviousSequence} as the sequence before it");
        }

        if (hasRecords)
        {
            var follows = afterMissing ? start.PreviousEpoch >= Epoch : start.PreviousEpoch == Epoch;
            if (!follows || fields.Epoch <= Epoch || fields.Epoch <= start.PreviousEpoch)
            {
                verdict.Find(FindingKind.EpochChain, place,
                    $"epoch {fields.Epoch} names epoch {start.PreviousEpoch} as the one before it; epoch {Epoch} was running");
            }

            if (start.PreviousEndedCleanly != HasEnded && !afterMissing)
            {
                verdict.Find(FindingKind.EpochChain, place, start.PreviousEndedCleanly
                    ? $"says that epoch {Epoch} ended cleanly, but its EpochEnd is not there"
                    : $"says that epoch {Epoch} did not end cleanly, but its EpochEnd is there");
            }
        }
        else if (fields.Sequence == 1 && start.PreviousEpoch != 0)
        {
            verdict.Find(FindingKind.EpochChain, place, $"is the first record, but names epoch {start.PreviousEpoch} before it");
        }
    }

    private void CheckKey(in RecordPlace place, EpochStart start)
    {
        Key = null;
        IsKeyTrusted = false;
        if (start.Identity.Length == 0 && start.EpochKey.Length == 0 && start.Certificate.Length == 0)
        {
            UnsignedEpochs++;
            if (options.Identities.Count > 0 || Identity is not null)
            {
                verdict.Find(FindingKind.Signature, place, $"epoch {start.Epoch} is not signed, though {(Identity is null ? "an identity is pinned" : "epochs before it are")}");
            }

            return;
        }

        if (!EpochCertificate.TryRead(start, stream, out var identity, out var key, out var certificate))
        {
            verdict.Find(FindingKind.Signature, place, $"the identity, key, certificate or root of epoch {start.Epoch} cannot be read");
            return;
        }

        Key = key;
        if (!EpochCertificate.IsGood(start, stream, identity, certificate))
        {
            verdict.Find(FindingKind.Signature, place, $"the certificate of epoch {start.Epoch} is not for its key, run and tree, or not by its identity");
            return;
        }

        IsKeyTrusted = IsIdentityTrusted(place, identity);
    }

    private bool IsIdentityTrusted(in RecordPlace place, NoteVerifier identity)
    {
        if (options.Identities.Count > 0)
        {
            Identity ??= identity;
            if (options.Identities.Any(pinned => pinned.Text == identity.Text))
            {
                return true;
            }

            verdict.Find(FindingKind.Identity, place, $"the identity '{identity.Text}' is none of the pinned ones");
            return false;
        }

        if (Identity is null)
        {
            Identity = identity;
            verdict.Note($"stream {stream:N}: the identity '{identity.Text}' is trusted because it is the first one seen; pin it with --identity");
            return true;
        }

        if (Identity.Text == identity.Text)
        {
            return true;
        }

        verdict.Find(FindingKind.Identity, place, $"the identity changed from '{Identity.Text}' to '{identity.Text}'");
        return false;
    }
}
