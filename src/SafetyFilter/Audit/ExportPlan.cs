using Google.Protobuf;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Audit;

/// <summary>What must be known of a ledger before its first row is written: its classifiers, and which decisions were withdrawn after they were recorded.</summary>
internal sealed class ExportPlan
{
    private readonly SortedSet<string> _classifiers = new(StringComparer.Ordinal);
    private readonly HashSet<(Guid Stream, uint Epoch, ulong Sequence)> _withdrawn = [];

    /// <summary>Every classifier that any decision names, in the order of their names.</summary>
    public IReadOnlyCollection<string> Classifiers => _classifiers;

    public long Decisions { get; private set; }

    public long Candidates { get; private set; }

    public long Unreadable { get; private set; }

    public ScanDamage Damage { get; private set; }

    /// <summary>Is told after every decision how many decisions and candidates were read.</summary>
    public Action<long, long>? Reached { get; init; }

    /// <summary>Reads the ledger once. Null when all was read; otherwise why not.</summary>
    public string? Read(ILedgerSource source, ulong from, ulong to, CancellationToken stop)
    {
        var last = Array.Empty<string>();
        var record = new RecordedDecision();
        var visit = new RecordVisit(record, null, _ => last = Note(record, last), _ => Unreadable++);
        var scan = new DecisionScan<RecordVisit>(source, 1, () => visit, static _ => { }) { FromUnixNanos = from, ToUnixNanos = to, Other = See };
        var failure = scan.Run(stop);
        Damage = scan.Damage;
        return failure;
    }

    public bool IsWithdrawn(RecordedDecision record) => _withdrawn.Contains((record.Stream, record.Epoch, record.Sequence));

    private string[] Note(RecordedDecision record, string[] last)
    {
        Decisions++;
        Candidates += record.Count;
        Reached?.Invoke(Decisions, Candidates);
        var same = last.Length == record.Classifiers.Count;
        for (var i = 0; same && i < last.Length; i++)
        {
            same = System.Text.Ascii.Equals(record[record.Classifiers[i].Name], last[i]);
        }

        if (!same)
        {
            last = [.. record.Classifiers.Select(one => record.Text(one.Name))];
            _classifiers.UnionWith(last);
        }

        return last;
    }

    private void See(RecordType? type, ReadOnlySpan<byte> record)
    {
        if (type != RecordType.Withdrawal)
        {
            return;
        }

        try
        {
            var withdrawal = Withdrawal.Parser.ParseFrom(record);
            _withdrawn.Add((new Guid(withdrawal.StreamId.Span, bigEndian: true), withdrawal.Epoch, withdrawal.WithdrawnSequence));
        }
        catch (Exception error) when (error is InvalidProtocolBufferException or ArgumentException)
        {
            Unreadable++;
        }
    }
}

/// <summary>Hands every decision to a visitor, in order.</summary>
internal sealed class RecordVisit(RecordedDecision record, SealOpener? open, Action<RecordedDecision> visit, Action<string> unreadable) : IDecisionWork
{
    public void Take(ReadOnlySpan<byte> bytes)
    {
        if (record.TryRead(bytes, open) is { } problem)
        {
            unreadable(problem);
        }
        else
        {
            visit(record);
        }
    }
}
