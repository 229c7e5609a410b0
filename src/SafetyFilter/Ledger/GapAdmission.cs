using Google.Protobuf;
using Microsoft.Extensions.Logging;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>Writes the Gap records of a stream, each loss once. Not thread-safe: the start uses it, and after it the publisher.</summary>
internal sealed class GapAdmission(Spool spool, ILogger logger)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly GapBook _book = GapBook.Read(spool.StreamFolder);
    private long _records;

    /// <summary>Records that this run admitted to be lost.</summary>
    public long Records => Volatile.Read(ref _records);

    /// <summary>
    /// Notes what a start found. Before its EpochStart, whose root counts the lost records as empty: a start after a crash in
    /// between would take the tree from there, and would not look behind it again.
    /// </summary>
    public void NoteRecovered(IReadOnlyList<LostRange> lost)
    {
        foreach (var range in lost)
        {
            _book.Note(range with { IsAdmitted = false });
            if (range.IsAdmitted)
            {
                _book.MarkAdmitted(range with { IsAdmitted = false });
            }
        }
    }

    /// <summary>Admits what was noted now, and what earlier runs noted and could not record any more. Right after EpochStart.</summary>
    /// <exception cref="LedgerException">The records cannot be written.</exception>
    public void AdmitRecovered()
    {
        if (!TryAdmitNoted())
        {
            throw new LedgerException(
                $"What is lost in '{spool.StreamFolder}' cannot be recorded ({spool.Trouble ?? "the disk is slow"}). Check the disk for space and errors.");
        }
    }

    /// <summary>Notes a loss durably, and admits it unless the spool is closed: then the next start does.</summary>
    public void Admit(LostRange lost)
    {
        _ = _book.Note(lost);
        TryAdmitNoted();
    }

    private bool TryAdmitNoted()
    {
        var recorded = new List<LostRange>();
        var all = true;
        foreach (var range in _book.NotAdmitted)
        {
            all = TryAppend(range);
            if (!all)
            {
                break;
            }

            recorded.Add(range);
            Interlocked.Add(ref _records, (long)(range.Last - range.First + 1));
            LedgerLog.GapAdmitted(logger, range.First, range.Last, range.Cause, range.Evidence);
        }

        if (recorded.Count > 0 && spool.WaitUntilDurable(Patience))
        {
            recorded.ForEach(_book.MarkAdmitted);
        }

        return all;
    }

    private bool TryAppend(LostRange range)
    {
        var gap = new Gap
        {
            StreamId = ByteString.CopyFrom(spool.StreamId.ToByteArray(bigEndian: true)),
            Epoch = spool.Epoch,
            TimeUnixNanos = spool.NowUnixNanos,
            First = range.First,
            Last = range.Last,
            Cause = range.Cause,
            Evidence = range.Evidence,
            EmptyLeaves = range.EmptyLeaves,
        };
        return spool.Append(RecordType.Gap, gap.ToByteArray(), Patience, out _) == AppendResult.Appended;
    }
}
