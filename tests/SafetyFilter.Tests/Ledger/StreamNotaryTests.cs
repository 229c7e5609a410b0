using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Tests.Ledger;

public sealed class StreamNotaryTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    private static readonly SigningOptions Usual = new();

    private readonly LedgerFolder _folder = new();
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UnixEpoch.AddYears(50));

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Checkpoint_AfterTheInterval_CoversEverythingDurable()
    {
        using (var spool = _folder.Open(signing: Usual, time: _time))
        {
            LedgerFolder.Append(spool, "a");
            var last = LedgerFolder.Append(spool, "b");
            Await(() => spool.DurableSequence == last);
            _time.Advance(Usual.CheckpointInterval - TimeSpan.FromMilliseconds(1));
            Assert.Equal(0, spool.Notary.Checkpoints);

            _time.Advance(TimeSpan.FromMilliseconds(1));

            Await(() => spool.Notary.Checkpoints == 1);
        }

        var checkpoint = Assert.Single(StreamAudit.Check(_folder).Checkpoints);
        Assert.Equal((3UL, 0UL, 2UL), (checkpoint.TreeSize, checkpoint.PreviousSize, checkpoint.Decisions));
    }

    [Fact]
    public void Checkpoint_AfterSoManyRecords_ComesBeforeTheInterval()
    {
        using (var spool = _folder.Open(signing: Usual, time: _time))
        {
            for (var index = 0; index < Usual.CheckpointRecords; index++)
            {
                LedgerFolder.Append(spool, "a");
            }

            Await(() => spool.Notary.Checkpoints == 1);
            LedgerFolder.Append(spool, "b");
        }

        Assert.Equal((ulong)Usual.CheckpointRecords, Assert.Single(StreamAudit.Check(_folder).Checkpoints).TreeSize, tolerance: 2UL);
    }

    [Fact]
    public void Checkpoint_WhenNothingComes_IsAHeartbeatOverTheOneBefore()
    {
        using (var spool = _folder.Open(signing: Usual, time: _time))
        {
            LedgerFolder.Append(spool, "a");
            Await(() => spool.DurableSequence == 2);
            _time.Advance(Usual.CheckpointInterval);
            Await(() => spool.Notary.Checkpoints == 1 && spool.DurableSequence == 3);

            // Its own record alone is no reason for another.
            _time.Advance(Usual.HeartbeatInterval - TimeSpan.FromMilliseconds(1));
            _time.Advance(TimeSpan.FromMilliseconds(1));
            Await(() => spool.Notary.Checkpoints == 2 && spool.DurableSequence == 4);
            _time.Advance(Usual.HeartbeatInterval);
            Await(() => spool.Notary.Checkpoints == 3);
        }

        var checkpoints = StreamAudit.Check(_folder).Checkpoints;
        Assert.Equal([(2UL, 0UL), (3UL, 2UL), (4UL, 3UL)], checkpoints.Select(one => (one.TreeSize, one.PreviousSize)));
        Assert.Equal(10_000_000_000UL, checkpoints[2].TimeUnixNanos - checkpoints[1].TimeUnixNanos);
    }

    [Fact]
    public void Checkpoint_UnderManyThreads_IsTrueEveryTime()
    {
        const int Threads = 4;
        var appended = 0;
        using (var spool = _folder.Open(signing: Every(50)))
        {
            var appenders = Enumerable.Range(0, Threads).Select(_ => new Thread(() =>
            {
                for (var index = 0; index < 200 || (spool.Notary.Checkpoints < 5 && index < 100_000); index++)
                {
                    LedgerFolder.Append(spool, "a", length: index % 200);
                    Interlocked.Increment(ref appended);
                }
            })).ToList();
            appenders.ForEach(static thread => thread.Start());
            appenders.ForEach(static thread => thread.Join());
        }

        var audit = StreamAudit.Check(_folder);
        Assert.True(audit.Checkpoints.Count >= 5);
        Assert.Equal((ulong)appended, Assert.Single(audit.Ends).Decisions);
        using var verifier = _folder.Verify();
        Assert.True(verifier.IsVerified, LedgerFolder.Describe(verifier));
    }

    [Fact]
    public void Checkpoint_AfterTheRingWasLapped_ReadsTheRecordsBack()
    {
        const int Records = LeafRing.Slots + 5000;
        var options = _folder.Options(segmentBytes: 64 << 20);
        options.SyncInterval = TimeSpan.FromSeconds(10);
        using (var spool = _folder.Open(options, signing: Every(1000)))
        {
            for (var index = 0; index < Records; index++)
            {
                LedgerFolder.Append(spool, "a");
            }

            // Nothing was durable meanwhile, so nothing was taken in.
            Assert.False(spool.Notary.Leaves.TryRead(1000, out _, out _));
        }

        var audit = StreamAudit.Check(_folder);
        Assert.Equal((ulong)Records, Assert.Single(audit.Ends).Decisions);
    }

    [Fact]
    public void Close_ARun_SignsItsEnd()
    {
        using (var spool = _folder.Open(time: _time))
        {
            LedgerFolder.Append(spool, "a");
        }

        var audit = StreamAudit.Check(_folder);
        Assert.Equal([RecordType.EpochStart, RecordType.Decision, RecordType.EpochEnd], audit.Types);
        Assert.Contains("\nend 1\n", Assert.Single(audit.Ends).Note, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_TheNextRun_HasAKeyOfItsOwnUnderTheSameIdentity()
    {
        _folder.Open(signing: Every(10)).Dispose();
        _folder.Open(signing: Every(10)).Dispose();

        var starts = StreamAudit.Check(_folder).Starts;
        Assert.Equal(2, starts.Count);
        Assert.Equal(starts[0].Identity, starts[1].Identity);
        Assert.NotEqual(starts[0].EpochKey, starts[1].EpochKey);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(_folder.Path, "identity.key")));
    }

    [Fact]
    public void Open_WithAnIdentityOfAKeyService_HasItCertifyAndMakesNoFile()
    {
        using var identity = NoteKey.Generate("some/service");
        Spool.Open(_folder.Options(), "test", TimeProvider.System, identity: identity).Dispose();

        Assert.Equal(identity.Verifier.Text, Assert.Single(StreamAudit.Check(_folder).Starts).Identity);
        Assert.False(File.Exists(Path.Combine(_folder.Path, "identity.key")));
    }

    [Fact]
    public void Open_WithADamagedIdentity_RefusesAndStartsNoEpoch()
    {
        _folder.Open().Dispose();
        File.WriteAllText(Path.Combine(_folder.Path, "identity.key"), "no key");

        var error = Assert.Throws<LedgerException>(() => _folder.Open());

        Assert.Contains("identity.key", error.Message, StringComparison.Ordinal);
        Assert.Equal(1U, SpoolFolder.ReadIdentity(_folder.Path)!.Value.Epoch);
    }

    [Fact]
    public void Checkpoint_WhenItCannotBeRecorded_IsTroubleThatPassesAndNoOnesError()
    {
        var options = _folder.Options();
        options.AppendPatience = TimeSpan.FromMilliseconds(5);
        using var spool = _folder.Open(options, Usual, _time);
        Await(() => spool.DurableSequence == 1);

        // The folder goes away below the spool until no segment is left.
        var moved = spool.StreamFolder + "-moved";
        Directory.Move(spool.StreamFolder, moved);
        var body = LedgerFolder.Body(spool, "a", length: 8000);
        while (spool.Append(RecordType.Decision, body, out _) == AppendResult.Appended)
        {
        }

        while (spool.Append(RecordType.Decision, LedgerFolder.Body(spool, "a"), out _) == AppendResult.Appended)
        {
        }

        _time.Advance(Usual.HeartbeatInterval);
        Await(() => spool.Notary.Trouble is not null);
        Directory.Move(moved, spool.StreamFolder);
        Assert.True(SpinWait.SpinUntil(
            () =>
            {
                _time.Advance(TimeSpan.FromSeconds(1));
                return spool.Notary.Trouble is null && spool.Notary.Checkpoints > 0;
            },
            Patience));
        Assert.True(spool.Notary.Failures > 0);
    }

    private static SigningOptions Every(int records) => new()
    {
        CheckpointInterval = TimeSpan.FromDays(1),
        CheckpointRecords = records,
        HeartbeatInterval = TimeSpan.FromDays(1),
    };

    private static void Await(Func<bool> condition) => Assert.True(SpinWait.SpinUntil(condition, Patience));
}
