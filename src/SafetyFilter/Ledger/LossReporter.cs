using Google.Protobuf;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>Writes Loss records: the loss page counts, and the stream is told once there is room again.</summary>
internal sealed class LossReporter(Spool spool, LossPage losses)
{
    private readonly Lock _lock = new();

    // The Loss record that was written and is not durable yet; 0 for none.
    private ulong _unconfirmed;

    /// <summary>Appends a Loss record if there are losses that no such record tells of, and if there is room for it.</summary>
    public void Report()
    {
        lock (_lock)
        {
            if (_unconfirmed != 0)
            {
                // Marked as told only now: a page that reached the disk before its record would hide the loss.
                if (spool.DurableSequence < _unconfirmed)
                {
                    return;
                }

                losses.EndReport();
                _unconfirmed = 0;
            }

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
            if (spool.Append(RecordType.Loss, record.ToByteArray(), TimeSpan.Zero, out var receipt) == AppendResult.Appended)
            {
                _unconfirmed = receipt.Sequence;
            }
        }
    }
}
