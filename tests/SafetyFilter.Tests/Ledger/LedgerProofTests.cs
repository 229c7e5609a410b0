using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Verify;

namespace SafetyFilter.Tests.Ledger;

/// <summary>What honest streams look like to the verifier: nothing to find, and the right things counted.</summary>
public sealed class LedgerProofTests : IDisposable
{
    private readonly LedgerForge _forge = new();

    public void Dispose() => _forge.Dispose();

    [Fact]
    public void Verify_SeveralEpochsThatEndedCleanly_IsSignedThroughToTheLastEnd()
    {
        using var forge = LedgerForge.Whole(seed: 1);

        using var verifier = Verify(forge.Records);

        AssertFindings(verifier);
        var stream = Assert.Single(verifier.Streams);
        Assert.Equal((forge.Sequence - 1, 1UL, 0UL), (stream.SignedThrough, stream.Uncovered, stream.Unproven));
        Assert.Equal(forge.Identity.Verifier.Text, stream.Identity);
        Assert.Equal((long)forge.LostTotal, verifier.AdmittedLosses);
    }

    [Fact]
    public void Verify_ManyRandomStreams_FindsNothing()
    {
        for (var seed = 0; seed < 200; seed++)
        {
            using var forge = LedgerForge.Whole(seed);
            using var verifier = Verify(forge.Records);
            AssertFindings(verifier);
        }
    }

    [Fact]
    public void Verify_NumbersLostAtRecovery_AreAnAdmittedGap()
    {
        _forge.Start();
        _forge.Decide(5);
        _forge.Checkpoint();
        _forge.LoseBeforeStart(7);
        _forge.Start();
        _forge.Admit(8, 14, emptyLeaves: true);
        _forge.Decide(3);
        _forge.Checkpoint();

        using var verifier = Verify(_forge.Records);

        AssertFindings(verifier);
        Assert.Equal((7UL, _forge.Sequence - 1), (verifier.Streams.Single().AdmittedGaps, verifier.Streams.Single().SignedThrough));
        using var strict = Verify(_forge.Records, new VerifierOptions { Strict = true });
        AssertFindings(strict, FindingKind.Strict);
    }

    /// <summary>Crash model, seed 11147: no checkpoint is between the first record here and the Gap record, and they share a subtree.</summary>
    [Fact]
    public void Verify_FromAnEpochStartOnAndNumbersLostInItsEpoch_AreAnAdmittedGap()
    {
        _forge.Start();
        _forge.Decide(1);
        _forge.Start();
        var from = _forge.Sequence;
        _forge.Decide(3);
        _forge.LoseBeforeStart(7);
        _forge.Start();
        _forge.Admit(from + 4, from + 10, emptyLeaves: true);
        _forge.Decide(3);
        _forge.Checkpoint();

        using var verifier = Verify(_forge.Records.Where(record => record.Sequence >= from));

        AssertFindings(verifier);
        Assert.Equal((7UL, _forge.Sequence - 1), (verifier.Streams.Single().AdmittedGaps, verifier.Streams.Single().SignedThrough));
    }

    [Fact]
    public void Verify_NumbersLostAtRecoveryThatTheTopicHas_AreNoted()
    {
        _forge.Start();
        _forge.Decide(5);
        _forge.Checkpoint();
        _forge.LoseBeforeStart(1);
        _forge.Start();
        _forge.Admit(8, 8, emptyLeaves: true);
        _forge.Decide(3);
        _forge.Checkpoint();
        var ghost = new Lineage.V1.DecisionRecord
        {
            StreamId = Google.Protobuf.ByteString.CopyFrom(_forge.StreamId.ToByteArray(bigEndian: true)),
            Epoch = 1,
            Sequence = 8,
        };
        var records = _forge.Records.ToList();
        records.Insert(7, new ForgedRecord(RecordType.Decision, 1, 8, LedgerForge.Trailed(ghost)));

        using var verifier = Verify(records);

        AssertFindings(verifier);
        Assert.Contains(verifier.Notes, static note => note.Contains("declares lost, are here", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(9)]
    [InlineData(30)]
    public void Verify_DamageBehindACheckpoint_IsAnAdmittedGapAndTheTreeIsAnchoredAgain(int behind)
    {
        _forge.Start();
        _forge.Decide(10);
        _forge.Checkpoint();
        _forge.Decide(40);
        _forge.Checkpoint();
        _forge.Damage(12 + (ulong)behind, 13 + (ulong)behind);
        _forge.Decide(4);
        _forge.Admit(12 + (ulong)behind, 13 + (ulong)behind, emptyLeaves: false);
        _forge.Decide(4);
        _forge.Checkpoint();
        _forge.Decide(4);
        _forge.Checkpoint();

        using var verifier = Verify(_forge.Records);

        AssertFindings(verifier);
        var stream = verifier.Streams.Single();
        Assert.Equal((2UL, _forge.Sequence - 1), (stream.AdmittedGaps, stream.SignedThrough));
        Assert.InRange(stream.Unproven, 0UL, 30UL);
    }

    [Fact]
    public void Verify_AGapThatNoSignatureCovers_IsStillAGap()
    {
        _forge.Start();
        _forge.Decide(10);
        _forge.Checkpoint();
        _forge.Decide(4);
        _forge.Damage(5, 6);
        _forge.Admit(5, 6, emptyLeaves: false);

        using var verifier = Verify(_forge.Records);

        AssertFindings(verifier, FindingKind.Gap);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(20)]
    [InlineData(77)]
    public void Verify_ReadingFromMidStream_AnchorsAtTheNextCheckpoint(int from)
    {
        using var forge = LedgerForge.Whole(seed: 5);

        using var verifier = Verify(forge.Records.Skip(from));

        AssertFindings(verifier);
        Assert.Equal(forge.Sequence - 1, verifier.Streams.Single().SignedThrough);
    }

    [Fact]
    public void Verify_TheTailAfterTheLastCheckpoint_IsCounted()
    {
        _forge.Start();
        _forge.Decide(10);
        _forge.Checkpoint(behind: 2);
        _forge.Decide(5);

        using var verifier = Verify(_forge.Records);

        AssertFindings(verifier);
        Assert.Equal((9UL, 8UL), (verifier.Streams.Single().SignedThrough, verifier.Streams.Single().Uncovered));
        Assert.Contains(verifier.Notes, static note => note.Contains("did not end cleanly", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(1, 29, false)]
    [InlineData(1, 31, true)]
    [InlineData(60, 179, false)] // its heartbeat is a minute, as it shows
    [InlineData(60, 181, true)]
    public void Verify_StreamThatDidNotEnd_IsNotedAsDeadByItsOwnHeartbeat(int pause, int silence, bool isNoted)
    {
        _forge.Start();
        _forge.Checkpoint();
        _forge.Pause(TimeSpan.FromSeconds(pause));
        _forge.Checkpoint();
        _ = RecordFields.TryRead(_forge.Records[^1].Bytes, out var last);
        var now = DateTimeOffset.UnixEpoch.AddTicks((long)last.TimeUnixNanos / 100).AddSeconds(silence);

        using var verifier = Verify(_forge.Records, new VerifierOptions { Time = new FakeTimeProvider(now) });

        Assert.Equal(isNoted, verifier.Notes.Any(static note => note.Contains("did not end cleanly", StringComparison.Ordinal)));
    }

    [Fact]
    public void Verify_ATailThatAPublisherRepeats_IsNoFinding()
    {
        using var forge = LedgerForge.Whole(seed: 9);
        var records = forge.Records.Take(80).Concat(forge.Records.Skip(60));

        using var verifier = Verify(records);

        AssertFindings(verifier);
        Assert.Equal(20, verifier.Repeats);
    }

    [Fact]
    public void Verify_TwoStreamsInOneTopic_AreTwoTrees()
    {
        using var one = LedgerForge.Whole(seed: 1);
        using var two = LedgerForge.Whole(seed: 2);

        using var verifier = Verify(one.Records.Concat(two.Records));

        AssertFindings(verifier);
        Assert.Equal(2, verifier.Streams.Count());
    }

    [Fact]
    public void Wanted_EveryRecordUnderASignedCheckpoint_IsProvenAgainstItsNote()
    {
        using var forge = LedgerForge.Whole(seed: 3, epochs: 2);
        var last = forge.Records.Last(static record => record.Type == RecordType.Checkpoint).Read(Lineage.V1.Checkpoint.Parser).TreeSize;
        for (ulong sequence = 1; sequence <= last; sequence++)
        {
            using var verifier = Verify(forge.Records, new VerifierOptions { Wanted = (forge.StreamId, sequence) });

            var proof = verifier.Inclusion;
            Assert.NotNull(proof);
            Assert.True(proof.IsProven);
            Assert.Equal((forge.LeafOf(sequence), forge.RootAt(proof.TreeSize)), (proof.Leaf, proof.Root));
            Assert.Contains(proof.Root.ToBase64(), proof.Note, StringComparison.Ordinal);
            Assert.False((proof with { Leaf = forge.LeafOf(sequence == 1 ? 2UL : 1UL) }).IsProven);
        }
    }

    /// <summary>As many as SAFETYFILTER_VERIFY_RECORDS says (say 1000000); by default what is quick. Tells the verifier's speed.</summary>
    [Fact]
    public void Verify_ManyCleanRecords_FindsNothing()
    {
        var wanted = ulong.TryParse(Environment.GetEnvironmentVariable("SAFETYFILTER_VERIFY_RECORDS"), out var asked) ? asked : 100_000UL;
        var random = new Random(7);
        using var verifier = new LedgerVerifier();
        var spent = TimeSpan.Zero;
        while (_forge.Sequence < wanted)
        {
            _forge.Start();
            for (var last = _forge.Sequence + 20_000; _forge.Sequence < last;)
            {
                _forge.Decide(random.Next(1000));
                _forge.Checkpoint((ulong)random.Next(3));
                spent += Feed();
            }

            _forge.End();
            spent += Feed();
        }

        verifier.Finish();

        AssertFindings(verifier);
        Assert.Equal(1UL, verifier.Streams.Single().Uncovered);
        TestContext.Current.TestOutputHelper?.WriteLine($"{verifier.Records:N0} records, {verifier.Records / spent.TotalSeconds:N0} records/s");

        TimeSpan Feed()
        {
            var since = System.Diagnostics.Stopwatch.GetTimestamp();
            foreach (var record in _forge.Records)
            {
                verifier.Add("forged", 0, record.Type, record.Bytes);
            }

            _forge.Records.Clear();
            return System.Diagnostics.Stopwatch.GetElapsedTime(since);
        }
    }

    internal static LedgerVerifier Verify(IEnumerable<ForgedRecord> records, VerifierOptions? options = null)
    {
        var verifier = new LedgerVerifier(options);
        long position = 0;
        foreach (var record in records)
        {
            verifier.Add("forged", position++, record.Type, record.Bytes);
        }

        verifier.Finish();
        return verifier;
    }

    internal static void AssertFindings(LedgerVerifier verifier, params FindingKind[] expected) =>
        Assert.True(
            expected.SequenceEqual(verifier.Findings.Select(static finding => finding.Kind).Distinct()),
            $"expected [{string.Join(", ", expected)}]; got:\n{LedgerFolder.Describe(verifier)}");
}
