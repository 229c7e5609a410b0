using Google.Protobuf;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger.Verify;

/// <summary>All rules over one stream. Takes its records in order of sequence; <see cref="LedgerVerifier"/> sees to that.</summary>
internal sealed class StreamAudit
{
    private const ulong MissedHeartbeats = 3;

    // Of a stream that was never idle the setting is not known.
    private static readonly ulong DefaultHeartbeatNanos = (ulong)new SigningOptions().HeartbeatInterval.TotalNanoseconds;

    private readonly VerifierOptions _options;
    private readonly Verdict _verdict;
    private bool _afterMissing;

    public StreamAudit(in RecordFields first, VerifierOptions options, Verdict verdict)
    {
        _options = options;
        _verdict = verdict;
        Order = new StreamOrder(first, options.RepeatWindow);
        Epochs = new EpochRules(first.StreamId, options, verdict, first);
        Tree = new TreeRules(options, verdict, first.StreamId, first.Sequence);
        Losses = new LossRules(verdict);
        Receipts = options.Receipts is { } book ? new ReceiptRules(book, verdict, first.StreamId, options.EndIsCut) : null;
        if (first.Sequence == 1)
        {
            Losses.BeginAtFirst();
        }
        else
        {
            verdict.Note(
                $"stream {first.StreamId:N} begins at sequence {first.Sequence} here: what came before is elsewhere (published and deleted, or expired)");
        }
    }

    public StreamOrder Order { get; }

    public EpochRules Epochs { get; }

    public TreeRules Tree { get; }

    public LossRules Losses { get; }

    public ReceiptRules? Receipts { get; }

    /// <summary>Records that signed Gap records admit to be lost.</summary>
    public ulong AdmittedGaps { get; private set; }

    /// <summary>Whether any epoch read here was signed.</summary>
    public bool IsSigned => Epochs.Identity is not null || Tree.Checkpoints > 0;

    /// <summary>The newest records that no signature covers.</summary>
    public ulong Uncovered => Order.Last - Math.Min(Math.Max(Tree.SignedThrough, Order.First - 1), Order.Last);

    /// <summary>The next record is behind ones that are not here.</summary>
    public void Miss(in RecordPlace place, bool isFinding)
    {
        if (isFinding)
        {
            Order.Missing.Add(new MissingRange(Order.Next, place.Sequence - 1, place.Source, place.Position));
        }
        else
        {
            Order.SkipTo(place.Sequence);
        }

        Tree.SkipTo(place.Sequence - 1);
        Epochs.Miss();
        Losses.Miss();
        _afterMissing = true;
    }

    /// <summary>Whether nothing of a range is missing without a Gap record that admits it.</summary>
    public bool IsAdmitted(ulong from, ulong to) => !Order.Missing.Exists(missing => missing.First <= to && from <= missing.Last);

    public void Take(in RecordPlace place, RecordType type, in RecordFields fields, ReadOnlySpan<byte> record, in TreeHash leaf, UInt128 half)
    {
        if (type == RecordType.Decision)
        {
            Tree.Settle();
            Epochs.Continue(place, fields.Epoch, _afterMissing);
            Epochs.CountDecision();
            Losses.Mark(fields.LostSinceLast);
        }
        else
        {
            Check(place, type, fields, record);
        }

        Tree.Append(leaf);
        Receipts?.Take(place, fields.Epoch, leaf);
        Order.Take(fields, half);
        _afterMissing = false;
    }

    public void Finish()
    {
        Tree.Finish();
        foreach (var missing in Order.Missing)
        {
            _verdict.Find(FindingKind.Gap, new RecordPlace(missing.Source, missing.Position, Order.Id, missing.First),
                $"{missing.Last - missing.First + 1} records are missing: {missing.First} to {missing.Last}");
        }

        foreach (var admitted in Order.Admitted)
        {
            Finish(admitted);
        }

        Order.Missing.Clear();
        Receipts?.Finish(Order);
        NoteWhatIsNotProven();
        NoteTimes();
    }

    private void Finish(AdmittedRange admitted)
    {
        var place = new RecordPlace("", 0, Order.Id, admitted.First);
        var text = $"{admitted.Last - admitted.First + 1} records are lost and admitted by {admitted.BySequence}: {admitted.First} to {admitted.Last}";
        if (IsSigned && !admitted.IsCertified && !Tree.IsProven(admitted.BySequence))
        {
            _verdict.Find(FindingKind.Gap, place, text + ", but no signature covers that record alone");
            return;
        }

        AdmittedGaps += admitted.Last - admitted.First + 1;
        _verdict.Note($"stream {Order.Id:N}: {text}");
        if (_options.Strict)
        {
            _verdict.Find(FindingKind.Strict, place, text);
        }
    }

    private void Check(in RecordPlace place, RecordType type, in RecordFields fields, ReadOnlySpan<byte> record)
    {
        if (type == RecordType.EpochStart)
        {
            if (Parse(EpochStart.Parser, place, record) is { } start)
            {
                Epochs.Start(place, fields, start, Order.HasRecords, _afterMissing);
                Tree.Start(place, start, Epochs.IsKeyTrusted);
                Losses.Start(place, start.LostTotal);
            }

            return;
        }

        Epochs.Continue(place, fields.Epoch, _afterMissing);
        if (type == RecordType.Gap)
        {
            Take(place, Parse(Gap.Parser, place, record));
            return;
        }

        Tree.Settle();
        switch (type)
        {
            case RecordType.EpochEnd when Parse(EpochEnd.Parser, place, record) is { } end:
                Epochs.End(place, end);
                Tree.CheckEnd(place, end, Epochs);
                break;
            case RecordType.Checkpoint when Parse(Checkpoint.Parser, place, record) is { } checkpoint:
                Epochs.Count(place, checkpoint);
                Tree.Check(place, checkpoint, Epochs);
                Losses.Total(place, checkpoint.LostTotal);
                break;
            case RecordType.Loss when Parse(Loss.Parser, place, record) is { } loss:
                Losses.Take(place, loss);
                break;
            case RecordType.Withdrawal when Parse(Withdrawal.Parser, place, record) is { } withdrawal:
                Losses.Withdraw(place, withdrawal);
                break;
            case RecordType.Activation when Parse(Activation.Parser, place, record) is { Policy: "" }:
                _verdict.Find(FindingKind.Malformed, place, "is an Activation of no policy");
                break;
            case RecordType.BreakerChange when Parse(BreakerChange.Parser, place, record) is { } change && BreakerRules.Fault(change) is { } fault:
                _verdict.Find(FindingKind.Malformed, place, fault);
                break;
            case RecordType.Shed when Parse(Shed.Parser, place, record) is { Refused: 0, ServedByFailMode: 0 }:
                _verdict.Find(FindingKind.Malformed, place, "is a Shed of no request");
                break;
            case RecordType.Change when Parse(Change.Parser, place, record) is { } edit && ChangeRules.Fault(edit) is { } wrong:
                _verdict.Find(FindingKind.Malformed, place, wrong);
                break;
            case RecordType.SecurityEvent when Parse(SecurityEvent.Parser, place, record) is { Method: "" }:
                _verdict.Find(FindingKind.Malformed, place, "is a SecurityEvent of no method");
                break;
        }
    }

    private void Take(in RecordPlace place, Gap? gap)
    {
        if (gap is null)
        {
            return;
        }

        if (gap.First == 0 || gap.Last < gap.First || gap.Last >= place.Sequence)
        {
            _verdict.Find(FindingKind.Mismatch, place, $"declares {gap.First} to {gap.Last} lost, which is no range before it");
            return;
        }

        Tree.DeclareLost(place, gap);
        Order.Admit(gap.First, gap.Last, place.Sequence, Tree.IsCertifiedEmpty);
    }

    private void NoteWhatIsNotProven()
    {
        if (Epochs.UnsignedEpochs > 0)
        {
            Report($"{Epochs.UnsignedEpochs} epochs are not signed: nothing proves that their records are as they were written");
        }

        if (Tree.Unchecked > 0)
        {
            Report($"{Tree.Unchecked} checkpoints could not be checked, because the start of their epoch is not here");
        }

        if (_options.Identities.Count > 0 && Epochs.Identity is null)
        {
            _verdict.Find(FindingKind.Signature, new RecordPlace("", 0, Order.Id, 0),
                "nothing in this stream is signed for the pinned identity; read from before an EpochStart if it begins in the middle of an epoch");
        }

        if (Tree.Unproven > 0)
        {
            Report($"{Tree.Unproven} records stand beside missing ones, and no signed hash covers just them");
        }

        if (Order.RepeatsUnchecked)
        {
            Report("records came again long after the first time; such repeats are counted but not compared");
        }
    }

    private void Report(string text)
    {
        _verdict.Note($"stream {Order.Id:N}: {text}");
        if (_options.Strict)
        {
            _verdict.Find(FindingKind.Strict, new RecordPlace("", 0, Order.Id, 0), text);
        }
    }

    private void NoteTimes()
    {
        if (Order.TimeGoesBack is ( > 0, _) back)
        {
            _verdict.Note($"stream {Order.Id:N}: time goes back {back.Count} times, by at most {back.Nanos / 1e9:N1} s: a clock was set, or a request took long");
        }

        var now = (ulong)_options.Time.GetUtcNow().ToUnixTimeMilliseconds() * 1_000_000;
        var heartbeat = Math.Max(Tree.LongestPause, DefaultHeartbeatNanos);
        if (Tree.LastCheckpointTime is > 0 and var last && !Epochs.HasEnded && !_options.EndIsCut && now > last + MissedHeartbeats * heartbeat)
        {
            _verdict.Note(
                $"stream {Order.Id:N}: its last checkpoint is {TimeSpan.FromSeconds(Math.Floor((now - last) / 1e9)):c} old, after pauses of at most " +
                $"{Tree.LongestPause / 1e9:N1} s, and it did not end cleanly: its sidecar is dead, cut off, or its newest records are not here");
        }
    }

    private T? Parse<T>(MessageParser<T> parser, in RecordPlace place, ReadOnlySpan<byte> record)
        where T : class, IMessage<T>
    {
        try
        {
            return parser.ParseFrom(record);
        }
        catch (InvalidProtocolBufferException)
        {
            _verdict.Find(FindingKind.Malformed, place, $"is no {typeof(T).Name}");
            return null;
        }
    }
}
