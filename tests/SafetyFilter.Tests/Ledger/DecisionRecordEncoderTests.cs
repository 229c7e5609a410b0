using CsCheck;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Tests.Ledger;

public sealed class DecisionRecordEncoderTests
{
    private static readonly byte[] Stream = [.. Enumerable.Range(1, 16).Select(static i => (byte)i)];

    [Fact]
    public void Encode_AnyDecision_ParsesToTheSameFacts() => DecisionGen.Any.Sample(static decision =>
    {
        var writer = new ProtoWriter();
        DecisionRecordEncoder.Encode(decision, Stream, 7, 3, writer);
        Same(decision, DecisionRecord.Parser.ParseFrom(writer.Written));
    });

    [Fact]
    public void Encode_AnyDecision_IsCanonical() => DecisionGen.Any.Sample(static decision =>
    {
        // The generated writer emits shortest varints in field order; equal length means that ours are shortest too.
        var writer = new ProtoWriter();
        DecisionRecordEncoder.Encode(decision, Stream, 7, 3, writer);
        Assert.Equal(DecisionRecord.Parser.ParseFrom(writer.Written).CalculateSize(), writer.Length);
    });

    [Fact]
    public void Encode_SteadyState_AllocatesNothing()
    {
        var decision = DecisionGen.Any.Single();
        decision.TraceId = default;
        var writer = new ProtoWriter();

        Assert.Equal(0, AllocatedBytes.Of(100, () => DecisionRecordEncoder.Encode(decision, Stream, 7, 3, writer)));
    }

    private static void Same(Decision expected, DecisionRecord actual)
    {
        var batch = expected.Batch;
        Assert.Equal(Stream, actual.StreamId.ToByteArray());
        Assert.Equal(7u, actual.Epoch);
        Assert.Equal(0u, actual.Sequence);
        Assert.Equal((ulong)expected.TimeUnixNanos, actual.TimeUnixNanos);
        Assert.Equal(expected.TraceId == default ? "" : expected.TraceId.ToHexString(), Convert.ToHexStringLower(actual.TraceId.Span));
        Assert.Equal(expected.TraceId == default ? "" : expected.SpanId.ToHexString(), Convert.ToHexStringLower(actual.SpanId.Span));
        Assert.Equal(batch.RequestId.ToString(batch.Buffer), actual.RequestId);
        Assert.Equal(expected.Caller, actual.Caller);
        Assert.Equal(batch.Surface.ToString(batch.Buffer), actual.Surface);
        Assert.Equal(batch.Territory.ToString(batch.Buffer), actual.Territory);
        Assert.Equal(batch.AgeBand.ToString(batch.Buffer), actual.AgeBand);
        Assert.Equal(batch.Experiment.ToString(batch.Buffer), actual.Experiment);
        Assert.Equal(batch.Purpose.ToString(batch.Buffer), actual.Purpose);
        Assert.Equal(expected.Terms.PolicyName, actual.Policy);
        Assert.Equal(new string('a', 64), actual.PolicyRevision);
        Assert.Equal(new string('b', 64), actual.ConfigRevision);
        Assert.Equal("0.1.0+test", actual.Build);
        Assert.Equal((uint)batch.Count, actual.CandidateCount);
        Assert.Equal(batch.Ids.Slices.ToArray().Select(slice => slice.ToString(batch.Buffer)), actual.CandidateIds);
        Assert.Equal(batch.ContentVersions.Slices.ToArray().Select(slice => slice.ToString(batch.Buffer)), actual.ContentVersions);
        Assert.Equal(expected.InputDigests.ToArray(), actual.InputDigests.ToByteArray());
        Assert.Equal(Bits(expected.Scores.All.ToArray()), Bits(actual.Scores));
        Assert.Equal(expected.Verdicts.Actions.ToArray().Select(static action => (int)action), actual.Actions.Select(static action => (int)action));
        Assert.Equal(expected.Verdicts.Bases.ToArray().Select(static basis => (int)basis), actual.Bases.Select(static basis => (int)basis));
        Assert.Equal(Bits(expected.Verdicts.Margins.ToArray()), Bits(actual.Margins));
        Assert.Equal(1000u, actual.BudgetMicros);
        Assert.Equal(expected.EngineMicros, actual.EngineMicros);
        Assert.Equal(3ul, actual.LostSinceLast);
        SameRuns(expected, actual);
        SameRules(expected, actual);
        SameDegradations(expected, actual);
        SameShadows(expected, actual);
        SameAttributes(batch, actual);
    }

    private static void SameRuns(Decision expected, DecisionRecord actual)
    {
        var bundle = Assert.Single(actual.Bundles);
        Assert.Equal(("bundle", "1.2.3", 32), (bundle.Name, bundle.Version, bundle.ModelSha256.Length));
        Assert.Equal((int)expected.Runs[0].Failure, (int)bundle.Failure);
        Assert.Equal((int)expected.Runs[0].Breaker, (int)bundle.Breaker);
        Assert.Equal(expected.Runs[0].Micros, bundle.Micros);
        Assert.Equal(
            expected.Terms.Classifiers.Select(static slot => (slot.NameText, (uint)slot.Bundle, (int)slot.FailMode)),
            actual.Classifiers.Select(static run => (run.Name, run.BundleIndex, (int)run.FailMode)));
    }

    private static void SameRules(Decision expected, DecisionRecord actual)
    {
        Assert.Equal("rule-0", actual.Rules[0].Id);
        for (var candidate = 0; candidate < expected.Batch.Count; candidate++)
        {
            var theirs = expected.Terms.Rules[expected.Verdicts.Rules[candidate]];
            var ours = actual.Rules[(int)actual.RuleIndexes[candidate]];
            Assert.Equal(System.Text.Encoding.UTF8.GetString(theirs.Id), ours.Id);
            Assert.Equal(System.Text.Encoding.UTF8.GetString(theirs.ReasonCode), ours.ReasonCode);
            Assert.Equal(System.Text.Encoding.UTF8.GetString(theirs.Label), ours.Label);
            Assert.Equal(
                ((int)theirs.Action, (int)theirs.Severity, theirs.DemoteFactor, (uint)theirs.MinimumAge),
                ((int)ours.Action, (int)ours.Severity, ours.DemoteFactor, ours.MinimumAge));
        }

        Assert.Equal(actual.Rules.Count, actual.Rules.Select(static rule => rule.Id).Distinct(StringComparer.Ordinal).Count());
    }

    private static void SameDegradations(Decision expected, DecisionRecord actual)
    {
        var terms = expected.Terms;
        var told = new FailureKind[expected.Scores.Classifiers * expected.Batch.Count];
        foreach (var degradation in actual.Degradations)
        {
            var classifier = (int)degradation.ClassifierIndex;
            var candidates = degradation.CandidateIndexes.Count == 0
                ? Enumerable.Range(0, expected.Batch.Count)
                : degradation.CandidateIndexes.Select(static index => (int)index);
            foreach (var candidate in candidates)
            {
                var mode = !float.IsNaN(expected.Scores.Row(classifier)[candidate]) ? FailMode.LastKnown
                    : terms.AllDownRule == 0 || expected.Verdicts.Rules[candidate] != terms.AllDownRule ? terms.Classifiers[classifier].MissingMode
                    : terms.Rules[terms.AllDownRule].Action == CandidateAction.Block ? FailMode.Closed : FailMode.Open;
                Assert.Equal((int)mode, (int)degradation.FailMode);
                told[classifier * expected.Batch.Count + candidate] = (FailureKind)degradation.Failure;
            }
        }

        for (var classifier = 0; classifier < expected.Scores.Classifiers; classifier++)
        {
            Assert.Equal(
                expected.Scores.Failures(classifier).ToArray(),
                told.AsSpan(classifier * expected.Batch.Count, expected.Batch.Count).ToArray());
        }
    }

    private static void SameShadows(Decision expected, DecisionRecord actual)
    {
        var matched = Enumerable.Range(0, expected.Batch.Count).Where(candidate => Bitmap.Get(expected.Verdicts.Shadow(0), candidate));
        Assert.Equal(matched, actual.Shadows.SelectMany(static shadow => shadow.CandidateIndexes).Select(static index => (int)index));
    }

    private static void SameAttributes(CandidateBatch batch, DecisionRecord actual)
    {
        var expected = batch.Attributes.Take(2).Select(column => column.Name.ToString(batch.Buffer));
        Assert.Equal(batch.Languages.Count > 0 ? expected.Prepend("language") : expected, actual.Attributes.Select(static column => column.Name));
        foreach (var (ours, theirs) in batch.Attributes.Take(2).Zip(actual.Attributes.TakeLast(Math.Min(2, batch.Attributes.Count))))
        {
            Assert.Equal(ours.Strings.Slices.ToArray().Select(slice => slice.ToString(batch.Buffer)), theirs.Strings);
            Assert.Equal(ours.Numbers, theirs.Numbers);
            Assert.Equal(ours.Flags, theirs.Flags);
        }
    }

    private static IEnumerable<uint> Bits(IEnumerable<float> values) => values.Select(BitConverter.SingleToUInt32Bits);
}
