using Google.Protobuf;
using SafetyFilter.Audit;
using SafetyFilter.Decisions;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Scoring;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Audit;

/// <summary>Scores of the shipped text model, recomputed from inputs that a record has.</summary>
public sealed class RescoreTests : IDisposable
{
    private const string Policy = """
        policy: p
        owner: team
        surfaces: [for-you]
        purposes: [recommendation]
        classifiers: { text-safety/hate: { fail: closed }, text-safety/spam: { fail: open } }
        rules:
          - { id: hate, when: { score: text-safety/hate, at_least: 0.5 }, action: block, reason: HATE }
        """;

    private static readonly string?[] Texts = ["you are all vermin and should go away", "a walk in the park", null, "WIN a FREE phone now!!! click", "", "ünïcode ñ 日本語"];

    private readonly BundleArchive _bundles = new();

    public RescoreTests() => _bundles.AddFolder(Path.Combine(SourceTree.Root, "deploy", "models"));

    public void Dispose() => _bundles.Dispose();

    [Fact]
    public void Replay_CapturedInputsOfTheShippedModel_GiveTheScoresBitForBit()
    {
        var report = AuditBench.Replay(ListSource.Of(Recorded()), AuditBench.Archive(Policy), _bundles);

        Assert.True(report.IsEqual(allowMissing: false), AuditBench.Describe(report));
        Assert.Equal((1L, 1L), (report.Rescored, report.Equal));
    }

    [Fact]
    public void Replay_ScoreOffByOneBit_IsListed()
    {
        var record = Recorded();
        record.Scores[1 * Texts.Length + 3] = MathF.BitIncrement(record.Scores[1 * Texts.Length + 3]);

        var report = AuditBench.Replay(ListSource.Of(record), AuditBench.Archive(Policy), _bundles);

        var difference = Assert.Single(report.Differences);
        Assert.Equal(("score text-safety/spam", 3), (difference.Field, difference.Candidate));
    }

    [Fact]
    public void Replay_AnotherTextThanWasScored_ShowsInScoreAndDigest()
    {
        var record = Recorded();
        record.Inputs.Texts[0].Values[1] = "something else entirely";

        var report = AuditBench.Replay(ListSource.Of(record), AuditBench.Archive(Policy), _bundles);

        Assert.Contains(report.Differences, static one => one is { Field: "score text-safety/hate", Candidate: 1 });
        Assert.Equal(1, report.NotRecomputable["input digest"].Count);
    }

    [Fact]
    public void Replay_BundleNotAtHand_IsNotRecomputable()
    {
        var report = AuditBench.Replay(ListSource.Of(Recorded()), AuditBench.Archive(Policy));

        Assert.Equal("bundle not found", Assert.Single(report.NotRecomputable).Key);
        Assert.Equal(0, report.DifferenceCount);
    }

    [Fact]
    public void Replay_BundleThatFailedByItsBreaker_IsTakenAsRecorded()
    {
        var record = Recorded();
        record.Bundles[0].Failure = DecisionRecord.Types.FailureKind.BreakerOpen;
        for (var i = 0; i < record.Scores.Count; i++)
        {
            record.Scores[i] = float.NaN;
        }

        var report = AuditBench.Replay(ListSource.Of(Decided(record)), AuditBench.Archive(Policy));

        Assert.True(report.IsEqual(allowMissing: false), AuditBench.Describe(report));
    }

    private DecisionRecord Recorded()
    {
        var loaded = ClassifierSet.Load(Path.Combine(SourceTree.Root, "deploy", "models"), BundleLimits.Default, TimeProvider.System);
        Assert.True(loaded.Value is not null, loaded.Report);
        using var set = loaded.Value;
        var bundle = set.Bundles.Single(static one => one.Name == "text-safety");
        var batch = BatchBuilder.Of(Texts.Length).Text("text", Texts).Build();
        var table = new ScoreTable();
        table.Reset(2, Texts.Length);
        Assert.Equal(FailureKind.None, bundle.Score(batch, table, [.. bundle.Classifiers.Select(static name => name switch { "text-safety/hate" => 0, "text-safety/spam" => 1, _ => -1 })]).Failure);
        var digests = new byte[Texts.Length * InputDigest.Size];
        InputDigest.Compute(batch, digests);
        var captured = new DecisionRecord.Types.CapturedText { Name = "text", Missing = { 2 } };
        captured.Values.Add(Texts.Select(static text => text ?? ""));
        var record = new DecisionRecord
        {
            StreamId = ByteString.CopyFrom(Guid.CreateVersion7().ToByteArray(bigEndian: true)),
            Epoch = 1,
            Sequence = 2,
            TimeUnixNanos = 1_780_000_000_000_000_000,
            RequestId = "r",
            Surface = "for-you",
            Policy = "p",
            CandidateCount = (uint)Texts.Length,
            InputDigests = ByteString.CopyFrom(digests),
            Inputs = new DecisionRecord.Types.CapturedInputs { Texts = { captured } },
            Bundles = { new DecisionRecord.Types.BundleRun { Name = "text-safety", Version = bundle.Version, ModelSha256 = ByteString.CopyFrom(bundle.ModelSha256.Span) } },
            Classifiers =
            {
                new DecisionRecord.Types.ClassifierRun { Name = "text-safety/hate", FailMode = DecisionRecord.Types.FailMode.Closed },
                new DecisionRecord.Types.ClassifierRun { Name = "text-safety/spam", FailMode = DecisionRecord.Types.FailMode.Open },
            },
            Degradations = { new DecisionRecord.Types.Degradation { ClassifierIndex = 0, Failure = DecisionRecord.Types.FailureKind.MissingFeature, CandidateIndexes = { 2 } } },
        };
        record.CandidateIds.Add(Enumerable.Range(0, Texts.Length).Select(static i => $"{i}"));
        record.Scores.Add(table.All.ToArray());
        return Decided(record);
    }

    // What the policy says to the record's scores.
    private static DecisionRecord Decided(DecisionRecord record)
    {
        var archive = ArchivedPolicy.Read(new SafetyFilter.Policy.PolicySource("p.yaml", Policy)).Policies[0];
        var scores = new ScoreTable();
        scores.Reset(2, Texts.Length);
        for (var cell = 0; cell < record.Scores.Count; cell++)
        {
            scores.Row(cell / Texts.Length)[cell % Texts.Length] = record.Scores[cell];
        }

        var verdicts = new Verdicts();
        archive.Policy.Decide(BatchBuilder.Of(Texts.Length).Build(), scores, (long)(record.TimeUnixNanos / 1_000_000), verdicts);
        record.PolicyRevision = archive.Policy.Revision;
        record.Actions.Clear();
        record.Bases.Clear();
        record.Margins.Clear();
        record.RuleIndexes.Clear();
        record.Rules.Clear();
        record.Actions.Add(verdicts.Actions.ToArray().Select(static action => (DecisionRecord.Types.Action)(int)action));
        record.Bases.Add(verdicts.Bases.ToArray().Select(static basis => (DecisionRecord.Types.Basis)(int)basis));
        record.Margins.Add(verdicts.Margins.ToArray());
        record.RuleIndexes.Add(verdicts.Rules.ToArray().Select(static rule => (uint)rule));
        record.Rules.Add(archive.Policy.Rules.Select(static rule => new DecisionRecord.Types.DecidingRule
        {
            Id = rule.Id,
            Action = (DecisionRecord.Types.Action)(int)rule.Action,
            ReasonCode = rule.ReasonCode,
            Severity = (DecisionRecord.Types.Severity)(int)rule.Severity,
        }));
        return record;
    }
}
