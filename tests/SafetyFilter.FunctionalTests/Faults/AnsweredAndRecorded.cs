using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Faults;

/// <summary>Holds receipts against a spool: each must be there with exactly its leaf, and the spool must verify.</summary>
internal static class AnsweredAndRecorded
{
    /// <summary>Returns the number of records in the spool, and of answers without one.</summary>
    /// <param name="killed">
    /// Answers that said MEMORY may be missing, and the ledger must admit as many: a kill takes them, as such a receipt says.
    /// </param>
    public static (int Records, int Lost) Check(string spool, IReadOnlyCollection<Receipt> receipts, bool killed = false)
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

        var lost = 0;
        foreach (var receipt in receipts)
        {
            Assert.Equal(stream, Convert.ToHexStringLower(receipt.StreamId.Span));
            var found = leaves.GetValueOrDefault(receipt.Sequence);
            if (killed && receipt.Durability == Durability.Memory && found.Epoch != receipt.Epoch)
            {
                lost++;
                continue;
            }

            Assert.Equal((receipt.Epoch, Convert.ToHexString(receipt.LeafHash.Span)), found);
        }

        Assert.Equal(receipts.Count, receipts.Select(static receipt => (receipt.Epoch, receipt.Sequence)).Distinct().Count());
        Assert.InRange(lost, 0, Host.SpoolRecords.Verify(spool));
        return (leaves.Count, lost);
    }

    public static string LeafOf(ReadOnlySpan<byte> record)
    {
        var leaf = TreeHash.OfLeaf(record);
        return Convert.ToHexString(leaf);
    }
}
