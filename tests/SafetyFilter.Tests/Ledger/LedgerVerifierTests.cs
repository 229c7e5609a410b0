using Google.Protobuf;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Tests.Ledger;

public sealed class LedgerVerifierTests : IDisposable
{
    private static readonly Guid Stream = Guid.CreateVersion7();
    private readonly LedgerVerifier _verifier = new();

    public void Dispose() => _verifier.Dispose();

    [Fact]
    public void Add_TwoWholeEpochs_IsVerified()
    {
        Start(1, 1, 0, cleanly: false);
        Decision(1, 2);
        Decision(1, 3);
        End(1, 4, decisions: 2);
        Start(2, 5, 1, cleanly: true);
        Decision(2, 6);

        AssertFindings();
        Assert.Equal((6L, 3L, 6L), (_verifier.Records, _verifier.Decisions, _verifier.Candidates));
        Assert.Equal(new StreamSummary(Stream, 1, 6, 1, 2) { Uncovered = 6 }, Assert.Single(_verifier.Streams));
    }

    [Fact]
    public void Add_AMissingRecord_IsAGapWithItsRange()
    {
        Start(1, 1, 0, cleanly: false);
        Decision(1, 2);
        Decision(1, 6);

        AssertFindings(FindingKind.Gap);
        Assert.Contains("3 to 5", _verifier.Findings[0].Text, StringComparison.Ordinal);
    }

    [Fact]
    public void Add_ARepeatedStretch_IsCountedAndNoFinding()
    {
        Start(1, 1, 0, cleanly: false);
        Decision(1, 2);
        Decision(1, 3);
        Decision(1, 2);
        Decision(1, 3);
        Decision(1, 4);

        AssertFindings();
        Assert.Equal((2L, 3L), (_verifier.Repeats, _verifier.Decisions));
    }

    [Fact]
    public void Add_AnotherRecordUnderTheSameSequence_IsAConflict()
    {
        Start(1, 1, 0, cleanly: false);
        Decision(1, 2);
        Decision(1, 2, request: "forged");

        AssertFindings(FindingKind.Conflict);
    }

    [Fact]
    public void Add_ASequenceAgainInAnotherEpoch_IsRenumberedAndNoConflict()
    {
        Start(1, 1, 0, cleanly: false);
        Decision(1, 2);
        Decision(1, 3);
        Start(2, 3, 1, cleanly: false);

        AssertFindings(FindingKind.Renumbered);
    }

    [Fact]
    public void Add_RecordsOfAnUnknownType_AreFoundOnce()
    {
        Start(1, 1, 0, cleanly: false);
        for (ulong sequence = 2; sequence <= 3; sequence++)
        {
            Add((RecordType)200, new DecisionRecord { StreamId = Id(Stream), Epoch = 1, Sequence = sequence });
        }

        AssertFindings(FindingKind.Mismatch);
    }

    [Fact]
    public void Add_ARecordAfterALaterOne_IsOutOfOrderAndNoGap()
    {
        Start(1, 1, 0, cleanly: false);
        Decision(1, 3);
        Decision(1, 2);

        AssertFindings(FindingKind.OutOfOrder);
    }

    [Fact]
    public void Add_TheFirstRecordAfterTheSecond_IsOutOfOrder()
    {
        Decision(1, 2);
        Decision(1, 1);

        AssertFindings(FindingKind.OutOfOrder);
    }

    [Fact]
    public void Add_AnEpochEndThatCountsOtherwise_IsFound()
    {
        Start(1, 1, 0, cleanly: false);
        Decision(1, 2);
        End(1, 3, decisions: 2);

        AssertFindings(FindingKind.EpochChain);
    }

    [Theory]
    [InlineData(3U, 2UL, 1U, false)] // names an epoch that was not the one before
    [InlineData(2U, 1UL, 1U, false)] // names another sequence
    [InlineData(2U, 2UL, 1U, true)] // claims a clean end that is not there
    [InlineData(1U, 2UL, 1U, false)] // does not raise the epoch
    public void Add_AnEpochThatDoesNotFollow_IsFound(uint epoch, ulong previousSequence, uint runningEpoch, bool cleanly)
    {
        Start(runningEpoch, 1, 0, cleanly: false);
        Decision(runningEpoch, 2);
        Add(RecordType.EpochStart, new EpochStart
        {
            StreamId = Id(Stream),
            Epoch = epoch,
            Sequence = 3,
            PreviousEpoch = epoch - 1,
            PreviousSequence = previousSequence,
            PreviousEndedCleanly = cleanly,
        });

        AssertFindings(FindingKind.EpochChain);
    }

    [Fact]
    public void Add_ADecisionOfAnEpochThatNeverStarted_IsFound()
    {
        Start(1, 1, 0, cleanly: false);
        Decision(2, 2);

        AssertFindings(FindingKind.EpochChain);
    }

    [Fact]
    public void Add_BytesThatAreNoRecord_AreMalformed()
    {
        _verifier.Add("here", 0, RecordType.Decision, [1, 2, 3]);

        AssertFindings(FindingKind.Malformed);
    }

    [Theory]
    [InlineData((int)DecisionRecord.Types.BreakerState.Isolated, true)]
    [InlineData((int)DecisionRecord.Types.BreakerState.Open, false)]
    public void Add_ABreakerThatAnOperatorChanged_IsWellFormedWhereAnOperatorCanDoThat(int state, bool isFine)
    {
        Start(1, 1, 0, cleanly: false);
        Add(RecordType.BreakerChange, new BreakerChange
        {
            StreamId = Id(Stream),
            Epoch = 1,
            Sequence = 2,
            Bundle = "roots",
            Group = "default",
            State = (DecisionRecord.Types.BreakerState)state,
            Reason = BreakerChange.Types.Reason.Operator,
            Actor = "ada",
        });

        AssertFindings(isFine ? [] : [FindingKind.Malformed]);
    }

    [Fact]
    public void Add_AStreamThatBeginsLater_IsNotedAndVerified()
    {
        Decision(4, 1000);
        Decision(4, 1001);

        AssertFindings();
        Assert.Contains("begins at sequence 1000", Assert.Single(_verifier.Notes), StringComparison.Ordinal);
    }

    [Fact]
    public void AddSpool_NothingThere_SaysWhatToName()
    {
        Assert.False(_verifier.AddSpool("/nowhere/at/all", out var error));
        Assert.Contains("/nowhere/at/all", error, StringComparison.Ordinal);
    }

    [Fact]
    public void AddSpool_WhileTheSidecarWrites_IsVerified()
    {
        using var folder = new LedgerFolder();
        using var spool = folder.Open();
        var last = LedgerFolder.Append(spool, "a");

        Assert.True(_verifier.AddSpool(folder.Path, out _));

        AssertFindings();
        Assert.Equal(last, Assert.Single(_verifier.Streams).LastSequence);
    }

    [Fact]
    public void AddSpool_DamageBeforeTheNewestRecordWhileTheSidecarWrites_IsFound()
    {
        using var folder = new LedgerFolder();
        using var spool = folder.Open();
        var victim = LedgerFolder.Append(spool, "a");
        LedgerFolder.Append(spool, "b");
        folder.Damage(victim);

        Assert.True(_verifier.AddSpool(folder.Path, out _));

        Assert.Equal([FindingKind.Damage, FindingKind.Gap], _verifier.Findings.Select(finding => finding.Kind));
        Assert.Equal(2, _verifier.Records);
    }

    [Fact]
    public void AddSpool_OldestSegmentsGoneWithoutBeingPublished_IsAGap()
    {
        using var folder = Written(segments: 3);
        var second = SpoolFolder.Segments(folder.Stream)[1].FirstSequence;
        File.Delete(folder.Segments[0]);

        Assert.Equal(0, new PublishCursor(second - 2, "t", 0).Write(folder.Stream));
        using (var verifier = folder.Verify())
        {
            var finding = Assert.Single(verifier.Findings);
            Assert.Equal((FindingKind.Gap, second - 1), (finding.Kind, finding.Sequence));
        }

        Assert.Equal(0, new PublishCursor(second - 1, "t", 0).Write(folder.Stream));
        using (var verifier = folder.Verify())
        {
            Assert.True(verifier.IsVerified, LedgerFolder.Describe(verifier));
        }
    }

    [Fact]
    public void AddSpool_AllSegmentsGone_IsNothingToVerify()
    {
        using var folder = Written(segments: 1);
        folder.Segments.ForEach(File.Delete);

        Assert.False(_verifier.AddSpool(folder.Path, out var error));

        Assert.Contains("nothing to verify", error, StringComparison.Ordinal);
    }

    [Fact]
    public void AddSpool_AMiddleSegmentGone_IsAGapWhateverTheCursorSays()
    {
        using var folder = Written(segments: 3);
        File.Delete(folder.Segments[1]);
        Assert.Equal(0, new PublishCursor(1_000_000, "t", 0).Write(folder.Stream));

        using var verifier = folder.Verify();

        Assert.Equal(FindingKind.Gap, Assert.Single(verifier.Findings).Kind);
    }

    private static LedgerFolder Written(int segments)
    {
        var folder = new LedgerFolder();
        using var spool = folder.Open();
        for (var index = 0; index < segments * 20; index++)
        {
            LedgerFolder.Append(spool, $"r{index}", length: 3000);
        }

        return folder;
    }

    private static ByteString Id(Guid stream) => ByteString.CopyFrom(stream.ToByteArray(bigEndian: true));

    private void Start(uint epoch, ulong sequence, uint previous, bool cleanly) => Add(RecordType.EpochStart, new EpochStart
    {
        StreamId = Id(Stream),
        Epoch = epoch,
        Sequence = sequence,
        PreviousEpoch = previous,
        PreviousSequence = sequence - 1,
        PreviousEndedCleanly = cleanly,
    });

    private void End(uint epoch, ulong sequence, ulong decisions) =>
        Add(RecordType.EpochEnd, new EpochEnd { StreamId = Id(Stream), Epoch = epoch, Sequence = sequence, Decisions = decisions });

    private void Decision(uint epoch, ulong sequence, string request = "r") => Add(
        RecordType.Decision,
        new DecisionRecord { StreamId = Id(Stream), Epoch = epoch, Sequence = sequence, RequestId = request, CandidateCount = 2 });

    private void Add(RecordType type, IMessage message) => _verifier.Add("here", 0, type, message.ToByteArray());

    private void AssertFindings(params FindingKind[] expected)
    {
        _verifier.Finish();
        Assert.Equal(expected, _verifier.Findings.Select(finding => finding.Kind));
        Assert.Equal(expected.Length == 0, _verifier.IsVerified);
    }
}
