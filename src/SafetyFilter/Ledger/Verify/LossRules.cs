using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger.Verify;

/// <summary>Holds what a stream admits to have lost against itself: totals only grow, and are what their parts add up to.</summary>
internal sealed class LossRules(Verdict verdict)
{
    // The highest total read so far, that of the last Loss, and that of the last EpochStart. Null while not known.
    private ulong? _total;
    private ulong? _byLoss;
    private ulong? _byStart;
    private bool _isWhole;
    private ulong _marked;
    private ulong _markedAtCheckpoint;
    private ulong _recorded;

    /// <summary>Decisions given without a record, as far as the records read here tell.</summary>
    public ulong Admitted => Math.Max(_marked, _isWhole ? _total ?? 0 : _recorded);

    public long Withdrawals { get; private set; }

    /// <summary>A stream read from its first record has lost nothing yet.</summary>
    public void BeginAtFirst()
    {
        _byLoss = 0;
        _isWhole = true;
    }

    /// <summary>Records were jumped over: a Loss may be among them.</summary>
    public void Miss() => _byLoss = _byStart = null;

    public void Mark(ulong lostSinceLast) => _marked += lostSinceLast;

    public void Take(in RecordPlace place, Loss loss)
    {
        // Whether a Loss goes on from the one before or from its run's start depends on what a killed run could still tell.
        var before = loss.TotalDecisions - loss.Decisions;
        if (loss.Decisions == 0 || loss.TotalDecisions < loss.Decisions || (_byLoss is not null && before != _byLoss && before != _byStart))
        {
            verdict.Find(FindingKind.Loss, place, $"adds {loss.Decisions} lost decisions to a total of {loss.TotalDecisions}; the Loss before it says {_byLoss}");
        }

        _recorded += loss.Decisions;
        _byLoss = loss.TotalDecisions;
        Raise(place, loss.TotalDecisions);
    }

    public void Start(in RecordPlace place, ulong total)
    {
        Total(place, total);
        _byStart = total;
    }

    /// <summary>A checkpoint or a start says how many were lost so far.</summary>
    public void Total(in RecordPlace place, ulong total)
    {
        Raise(place, total);
        if (total < _markedAtCheckpoint)
        {
            verdict.Find(FindingKind.Loss, place, $"says that {total} decisions were lost so far; decision records before it tell of {_markedAtCheckpoint}");
        }

        _markedAtCheckpoint = _marked;
    }

    public void Withdraw(in RecordPlace place, Withdrawal withdrawal)
    {
        Withdrawals++;
        if (withdrawal.WithdrawnSequence == 0 || withdrawal.WithdrawnSequence >= place.Sequence)
        {
            verdict.Find(FindingKind.Loss, place, $"withdraws {withdrawal.WithdrawnSequence}, which is no record before it");
        }
    }

    private void Raise(in RecordPlace place, ulong total)
    {
        if (total < _total)
        {
            verdict.Find(FindingKind.Loss, place, $"says that {total} decisions were lost so far; {_total} were before");
        }

        _total = Math.Max(_total ?? 0, total);
    }
}
