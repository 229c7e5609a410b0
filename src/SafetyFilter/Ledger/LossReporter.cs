using Google.Protobuf;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>Writes Loss records: the loss page counts, and the stream is told once there is room again.</summary>
internal sealed class LossReporter(Spool spool, LossPage losses)
{
    private readonly Lock _lock = new();

    /// <summary>Appends a Loss record if there are losses that no such record tells of, and if there is room for it.</summary>
    public void Report()
    {
        lock (_lock)
        {
            if (spool.WrittenSequence != spool.LastSequence || !losses.TryBeginReport(spool.LastSequence, out var counts))
            {
                return;
            }

            var record = new Loss
            {
                StreamId = spool.StreamIdBytes(),
                Epoch = spool.Epoch,
                TimeUnixNanos = spool.NowUnixNanos,
                Decisions = counts.Decisions - counts.Reported,
                Candidates = counts.Candidates - counts.ReportedCandidates,
                TotalDecisions = counts.Decisions,
                FirstTimeUnixNanos = counts.FirstTime,
                LastTimeUnixNanos = counts.LastTime,
            };
            if (spool.Append(RecordType.Loss, record.ToByteArray(), TimeSpan.Zero, out _) == AppendResult.Appended)
            {
                losses.EndReport();
            }
        }
    }
}
