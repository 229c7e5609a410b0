using Google.Protobuf;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Benchmarks.Ledger;

/// <summary>Bodies of decision records of a given size.</summary>
internal static class Records
{
    public static byte[] Body(Spool spool, int size)
    {
        var record = new DecisionRecord
        {
            StreamId = ByteString.CopyFrom(spool.StreamId.ToByteArray(bigEndian: true)),
            Epoch = spool.Epoch,
            TimeUnixNanos = (ulong)(DateTime.UtcNow - DateTime.UnixEpoch).Ticks * 100,
            RequestId = "request-1",
            Surface = "for-you",
            CandidateCount = 16,
        };
        var random = new byte[Math.Max(0, size - record.CalculateSize() - 4)];
        Random.Shared.NextBytes(random);
        record.InputDigests = ByteString.CopyFrom(random);
        return record.ToByteArray();
    }
}
