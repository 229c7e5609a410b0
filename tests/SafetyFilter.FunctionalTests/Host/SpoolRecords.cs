using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>One record of a spool: its bytes exactly as they are on the disk.</summary>
internal sealed record SpoolRecord(RecordType Type, uint Epoch, ulong Sequence, byte[] Bytes)
{
    public DecisionRecord Decision => DecisionRecord.Parser.ParseFrom(Bytes);
}

/// <summary>Reads what a sidecar recorded, while it runs or after.</summary>
internal static class SpoolRecords
{
    public static List<SpoolRecord> Read(string spool)
    {
        Assert.True(SpoolSource.TryOpen(spool, out var source, out var error), error);
        var records = new List<SpoolRecord>();
        using var reader = Assert.Single(source.Streams).Open();
        while (reader.Read() is var read && read != SpoolRead.End)
        {
            Assert.Equal(SpoolRead.Record, read);
            records.Add(new SpoolRecord(reader.Type, reader.Epoch, reader.Sequence, reader.Payload.ToArray()));
        }

        return records;
    }

    public static List<DecisionRecord> Decisions(string spool) =>
        [.. Read(spool).Where(static record => record.Type == RecordType.Decision).Select(static record => record.Decision)];

    public static SpoolRecord Find(string spool, ulong sequence) => Read(spool).Single(record => record.Sequence == sequence);

    /// <summary>Returns how many decisions the ledger itself says were lost.</summary>
    public static long Verify(string spool)
    {
        using var verifier = new LedgerVerifier();
        Assert.True(verifier.AddSpool(spool, out var error), error);
        Assert.Empty(verifier.Findings);
        return verifier.AdmittedLosses;
    }
}
