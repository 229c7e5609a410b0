using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Faults;

/// <summary>Holds receipts against a spool: each must be there with exactly its leaf, and the spool must verify.</summary>
internal static class AnsweredAndRecorded
{
    /// <summary>Returns the number of records in the spool.</summary>
    public static int Check(string spool, IReadOnlyCollection<Receipt> receipts)
    {
        var leaves = new Dictionary<ulong, (uint Epoch, string Leaf)>();
        Assert.True(SpoolSource.TryOpen(spool, out var source, out var error), error);
        string stream;
        using (var reader = Assert.Single(source.Streams).Open())
        {
            stream = "";
            while (reader.Read() is var read && read != SpoolRead.End)
            {
                Assert.Equal(SpoolRead.Record, read);
                Assert.Equal((ulong)leaves.Count + 1, reader.Sequence);
                stream = Path.GetFileName(Path.GetDirectoryName(reader.SegmentPath)!);
                leaves.Add(reader.Sequence, (reader.Epoch, LeafOf(reader.Payload)));
            }
        }

        foreach (var receipt in receipts)
        {
            Assert.Equal(stream, Convert.ToHexStringLower(receipt.StreamId.Span));
            Assert.Equal((receipt.Epoch, Convert.ToHexString(receipt.LeafHash.Span)), leaves[receipt.Sequence]);
        }

        Assert.Equal(receipts.Count, receipts.Select(static receipt => receipt.Sequence).Distinct().Count());
        Host.SpoolRecords.Verify(spool);
        return leaves.Count;
    }

    public static string LeafOf(ReadOnlySpan<byte> record)
    {
        var leaf = TreeHash.OfLeaf(record);
        return Convert.ToHexString(leaf);
    }
}
