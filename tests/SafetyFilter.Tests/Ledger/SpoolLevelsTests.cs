using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Tests.Ledger;

/// <summary>What an append answers at each level when there is no segment for it, and that what it answered is true.</summary>
public sealed class SpoolLevelsTests : IDisposable
{
    private const long SegmentBytes = 64 << 10;
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);
    private static readonly RecordTerms RefusesLate = new() { RefuseWhenLate = true };

    private readonly LedgerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(Durability.Memory, false, false, true, AppendResult.Appended, false)]
    [InlineData(Durability.Memory, true, false, true, AppendResult.Appended, false)]
    [InlineData(Durability.Memory, false, false, false, AppendResult.Unavailable, false)]
    [InlineData(Durability.Memory, false, true, false, AppendResult.Lost, false)]
    [InlineData(Durability.Process, false, false, true, AppendResult.Appended, true)]
    [InlineData(Durability.Process, false, true, true, AppendResult.Appended, true)]
    [InlineData(Durability.Process, true, false, true, AppendResult.Unavailable, false)]
    [InlineData(Durability.Process, true, true, true, AppendResult.Lost, false)]
    [InlineData(Durability.Process, false, false, false, AppendResult.Unavailable, false)]
    [InlineData(Durability.Process, false, true, false, AppendResult.Lost, false)]
    [InlineData(Durability.Disk, false, false, true, AppendResult.Appended, true)]
    [InlineData(Durability.Disk, true, false, true, AppendResult.Unavailable, false)]
    [InlineData(Durability.Disk, true, true, true, AppendResult.Lost, false)]
    [InlineData(Durability.Disk, false, true, false, AppendResult.Lost, false)]
    internal void Append_NoSpace_IsWhatThePolicySays(
        Durability level, bool refuseWhenLate, bool serveWhenFull, bool memory, AppendResult expected, bool pending)
    {
        using var spool = _folder.Open(Capped(memory ? 1 << 20 : 0));
        LedgerFolder.Fill(spool);
        var (last, refused) = (spool.LastSequence, spool.RefusedAppends);

        var terms = new RecordTerms { Durability = level, RefuseWhenLate = refuseWhenLate, ServeWhenFull = serveWhenFull };
        var result = spool.Append(RecordType.Decision, Body(spool), terms, 7, out var receipt);

        Assert.Equal(expected, result);
        Assert.Equal(pending, receipt.Pending);
        switch (expected)
        {
            case AppendResult.Appended:
                Assert.Equal((Durability.Memory, last + 1, 0UL), (receipt.Durability, receipt.Sequence, spool.LostTotal));
                Assert.True(spool.BacklogBytes > 1000);
                break;
            case AppendResult.Lost:
                Assert.Equal((Durability.Lost, 0UL, 1UL, last), (receipt.Durability, receipt.Sequence, spool.LostTotal, spool.LastSequence));
                Assert.Equal((refused, default), (spool.RefusedAppends, receipt.LeafHash));
                break;
            default:
                Assert.Equal((refused + 1, 0UL, last, true), (spool.RefusedAppends, spool.LostTotal, spool.LastSequence, spool.IsRefusing));
                break;
        }
    }

    [Theory]
    [InlineData(Durability.Memory, true, AppendResult.Appended, false)]
    [InlineData(Durability.Process, false, AppendResult.Appended, true)]
    [InlineData(Durability.Process, true, AppendResult.Late, false)]
    [InlineData(Durability.Disk, false, AppendResult.Appended, true)]
    [InlineData(Durability.Disk, true, AppendResult.Late, false)]
    internal void Append_SegmentIsLate_IsWhatThePolicySays(Durability level, bool refuseWhenLate, AppendResult expected, bool pending)
    {
        var options = _folder.Options();
        options.AppendPatience = TimeSpan.Zero;
        using (var spool = _folder.Open(options))
        {
            // A full disk is another matter: serving then must not make a late segment a loss.
            var terms = new RecordTerms { Durability = level, RefuseWhenLate = refuseWhenLate, ServeWhenFull = true };
            var body = LedgerFolder.Body(spool, "a", length: 15_000);
            var (result, receipt) = (AppendResult.Appended, default(LedgerReceipt));
            Assert.True(SpinWait.SpinUntil(
                () =>
                {
                    result = spool.Append(RecordType.Decision, body, terms, 1, out receipt);
                    return result != AppendResult.Appended || receipt.Durability == Durability.Memory;
                },
                Deadline));

            Assert.Equal((expected, pending, 0UL), (result, receipt.Pending, spool.LostTotal));
        }

        AssertWhole();
    }

    [Fact]
    public void Append_ThroughMemory_KeepsOrderAndEveryReceiptIsTrueOnceThereIsSpace()
    {
        var options = Capped(1 << 20);
        var leaves = new Dictionary<ulong, TreeHash>();
        using (var spool = _folder.Open(options))
        {
            LedgerFolder.Fill(spool);
            for (var index = 0; index < 300; index++)
            {
                var level = index % 3 == 0 ? Durability.Memory : Durability.Process;
                Assert.Equal(
                    AppendResult.Appended,
                    spool.Append(RecordType.Decision, Body(spool, $"m{index}", 1000 + index), new RecordTerms { Durability = level }, 1, out var receipt));
                Assert.Equal(Durability.Memory, receipt.Durability);
                leaves.Add(receipt.Sequence, receipt.LeafHash);
            }

            Assert.True(spool.WrittenSequence < leaves.Keys.Min());
            MakeRoom(options);
            Assert.True(SpinWait.SpinUntil(() => spool.DurableSequence == spool.LastSequence && spool.BacklogBytes == 0, Deadline));
            Assert.Equal(AppendResult.Appended, spool.Append(RecordType.Decision, Body(spool), RefusesLate, 1, out var direct));
            Assert.Equal(Durability.Process, direct.Durability);
        }

        AssertWhole();
        var read = 0;
        using var reader = SpoolReader.OpenStream(_folder.Stream);
        while (reader.Read() == SpoolRead.Record)
        {
            if (leaves.TryGetValue(reader.Sequence, out var leaf))
            {
                Assert.Equal(leaf, TreeHash.OfLeaf(reader.Payload));
                read++;
            }
        }

        Assert.Equal(300, read);
    }

    [Fact]
    public async Task Append_ManyThreadsThroughMemoryAndSegments_IsContiguousAndLosesNothing()
    {
        var options = _folder.Options();
        options.AppendPatience = TimeSpan.Zero;
        options.MemoryBacklogBytes = 256 << 10;
        long appended = 0;
        long inMemory = 0;
        using (var spool = _folder.Open(options))
        {
            var level = new[] { Durability.Memory, Durability.Process };
            await Task.WhenAll(Enumerable.Range(0, 6).Select(thread => Task.Run(
                () =>
                {
                    var terms = new RecordTerms { Durability = level[thread % 2] };
                    for (var index = 0; index < 3000; index++)
                    {
                        var body = LedgerFolder.Body(spool, $"{thread}/{index}", index * 37 % 6000);
                        if (spool.Append(RecordType.Decision, body, terms, 1, out var receipt) == AppendResult.Appended)
                        {
                            Interlocked.Increment(ref appended);
                            Interlocked.Add(ref inMemory, receipt.Durability == Durability.Memory ? 1 : 0);
                        }
                    }
                },
                TestContext.Current.CancellationToken)));
        }

        // Otherwise the test went nowhere near what it is about.
        Assert.True(inMemory > 0);
        AssertWhole();
        var read = _folder.ReadAll();
        Assert.Equal(appended, read.Count(one => one.Type == RecordType.Decision));
        Assert.Equal(read.Count, read.Select(one => one.RequestId).Where(id => id.Length > 0).Distinct(StringComparer.Ordinal).Count() + 2);
    }

    [Fact]
    public void Append_AtTheLevelMemory_AllocatesNothing()
    {
        var options = Capped(8 << 20);
        using var spool = _folder.Open(options);
        LedgerFolder.Fill(spool);
        var body = Body(spool);
        var terms = new RecordTerms { Durability = Durability.Memory };

        Assert.Equal(0, AllocatedBytes.Of(1000, () => spool.Append(RecordType.Decision, body, terms, 1, out _)));
        Assert.True(spool.BacklogBytes > 5000 * 1000);
    }

    [Fact]
    public void Append_ServedWithoutRecordUntilThereIsSpace_IsAdmittedExactly()
    {
        var options = Capped(0);
        var serve = new RecordTerms { ServeWhenFull = true };
        using (var spool = _folder.Open(options))
        {
            LedgerFolder.Fill(spool);
            for (var index = 0; index < 25; index++)
            {
                Assert.Equal(AppendResult.Lost, spool.Append(RecordType.Decision, Body(spool), serve, 4, out _));
            }

            Assert.Equal(25UL, spool.ClaimLosses());
            Assert.Equal(0UL, spool.ClaimLosses());
            spool.UnclaimLosses(25);
            MakeRoom(options);
            Assert.True(SpinWait.SpinUntil(() => Losses().Count == 1, Deadline));
            Assert.Equal((25UL, 25UL, 0UL), (spool.LostTotal, spool.ClaimLosses(), spool.ClaimLosses()));
        }

        var loss = Assert.Single(Losses());
        Assert.Equal((25UL, 100UL, 25UL), (loss.Decisions, loss.Candidates, loss.TotalDecisions));
        Assert.True(loss.FirstTimeUnixNanos > 0 && loss.FirstTimeUnixNanos <= loss.LastTimeUnixNanos);
        using (var again = _folder.Open(options))
        {
            Assert.Equal(25UL, again.LostTotal);
        }

        Assert.Single(Losses());
        AssertWhole();
    }

    [Fact]
    public void Close_WhileRecordsWaitInMemoryAndThereIsNoSpace_TheNextStartAdmitsThem()
    {
        var options = Capped(1 << 20);
        var memory = new RecordTerms { Durability = Durability.Memory };
        using (var spool = _folder.Open(options))
        {
            LedgerFolder.Fill(spool);
            for (var index = 0; index < 10; index++)
            {
                spool.Append(RecordType.Decision, Body(spool), memory, 3, out _);
            }
        }

        using (var again = _folder.Open(_folder.Options()))
        {
            Assert.Equal(10UL, again.LostTotal);
            Assert.True(SpinWait.SpinUntil(() => Losses().Count == 1, Deadline));
        }

        Assert.Equal((10UL, 30UL, 10UL), Losses().Select(loss => (loss.Decisions, loss.Candidates, loss.TotalDecisions)).Single());
        AssertWhole();
    }

    [Fact]
    public void TryWithdraw_ARecord_AppendsOneThatNamesIt()
    {
        using (var spool = _folder.Open())
        {
            var sequence = LedgerFolder.Append(spool, "a");
            Assert.True(spool.TryWithdraw(sequence));
        }

        using var reader = SpoolReader.OpenStream(_folder.Stream, from: 3);
        Assert.Equal((SpoolRead.Record, RecordType.Withdrawal), (reader.Read(), reader.Type));
        Assert.Equal(2UL, Withdrawal.Parser.ParseFrom(reader.Payload).WithdrawnSequence);
    }

    [Fact]
    public async Task WhenDurable_TheSyncIntervalIsLong_DoesNotWaitForIt()
    {
        var options = _folder.Options();
        options.SyncInterval = TimeSpan.FromMinutes(10);
        using var spool = _folder.Open(options);
        for (var index = 0; index < 5; index++)
        {
            var sequence = LedgerFolder.Append(spool, "a");
            Assert.True(await spool.WhenDurable(sequence));
            Assert.True(spool.DurableSequence >= sequence);
        }

        Assert.True(spool.DiskWaits > 0);
    }

    [Theory]
    [InlineData(0, 10_000, true)]
    [InlineData(10_000, 0, false)]
    public async Task WhenDurable_WaitsAsLongAsDiskPatience_WhateverAppendPatienceIs(int appendMilliseconds, int diskMilliseconds, bool expected)
    {
        var options = _folder.Options();
        options.SyncInterval = TimeSpan.FromMinutes(10);
        options.AppendPatience = TimeSpan.FromMilliseconds(appendMilliseconds);
        options.DiskPatience = TimeSpan.FromMilliseconds(diskMilliseconds);
        using var spool = _folder.Open(options);

        // Then only a wait brings more to the disk.
        Assert.True(SpinWait.SpinUntil(() => spool.DurableSequence == spool.LastSequence, Deadline));
        Assert.Equal(expected, await spool.WhenDurable(LedgerFolder.Append(spool, "a")));
    }

    [Fact]
    public void FreeBytes_WithALimit_IsWhatTheLimitLeaves()
    {
        using var spool = _folder.Open(Capped(0));
        LedgerFolder.Fill(spool);
        Assert.True(SpinWait.SpinUntil(() => spool.FreeBytes is >= 0 and < SegmentBytes, Deadline));
        Assert.Contains("Ledger:Spool:MaxBytes", spool.Trouble, StringComparison.Ordinal);
    }

    /// <summary>Room for two segments and no third.</summary>
    private SpoolOptions Capped(int memory)
    {
        var options = _folder.Options(SegmentBytes);
        options.MaxBytes = 2 * SegmentBytes + (16 << 10);
        options.MemoryBacklogBytes = memory;
        options.AppendPatience = TimeSpan.Zero;
        return options;
    }

    private static void MakeRoom(SpoolOptions options) => options.MaxBytes = 0;

    private static byte[] Body(Spool spool, string request = "full", int length = 1000) => LedgerFolder.Body(spool, request, length);

    private List<Loss> Losses() => LedgerFolder.Losses(_folder.Stream);

    private void AssertWhole()
    {
        var read = _folder.ReadAll();
        Assert.Equal(Enumerable.Range(1, read.Count).Select(static sequence => (ulong)sequence), read.Select(static one => one.Sequence));
        using var verifier = _folder.Verify();
        Assert.True(verifier.IsVerified, LedgerFolder.Describe(verifier));
    }
}
