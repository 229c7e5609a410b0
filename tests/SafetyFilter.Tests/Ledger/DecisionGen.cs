using CsCheck;
using Google.Protobuf;
using SafetyFilter.Decisions;
using SafetyFilter.Tests.Sidecar;

namespace SafetyFilter.Tests.Ledger;

/// <summary>Random finished decisions over random requests: every failure kind, action, basis, shadow and margin.</summary>
internal static class DecisionGen
{
    public static Gen<Decision> Any { get; } = Gen.Select(RequestGen.Valid, Gen.Int[1, 5], Gen.Int[1, 200], Gen.Int).Select(
        static (request, classifiers, rules, seed) => Make(request, classifiers, rules, new Random(seed)));

    private static Decision Make(V1.FilterRequest request, int classifiers, int rules, Random random)
    {
        var decision = new Decision();
        Assert.Null(FilterRequestReaderTests.Read(decision.Batch, request.ToByteArray()));
        decision.Begin(Terms(request, classifiers, rules));
        decision.TimeUnixNanos = random.NextInt64();
        decision.Caller = random.Next(2) == 0 ? "uds" : "127.0.0.1";
        decision.BudgetMicros = 1000;
        decision.EngineMicros = (uint)random.Next();
        if (random.Next(2) == 0)
        {
            decision.TraceId = System.Diagnostics.ActivityTraceId.CreateRandom();
            decision.SpanId = System.Diagnostics.ActivitySpanId.CreateRandom();
        }

        decision.Runs[0] = new BundleRun((FailureKind)random.Next(8), (BreakerState)random.Next(1, 5), (uint)random.Next());
        random.NextBytes(decision.InputDigests);
        for (var classifier = 0; classifier < classifiers; classifier++)
        {
            FillRow(decision.Scores, classifier, random);
        }

        FillVerdicts(decision, rules, random);
        decision.CollectUsedRules();
        return decision;
    }

    private static void FillRow(ScoreTable scores, int classifier, Random random)
    {
        if (random.Next(4) == 0)
        {
            scores.FailAll(classifier, (FailureKind)random.Next(1, 8));
            return;
        }

        var failing = random.Next(3) == 0;
        for (var candidate = 0; candidate < scores.Count; candidate++)
        {
            scores.Row(classifier)[candidate] = random.NextSingle();
            if (failing && random.Next(3) == 0)
            {
                scores.Fail(classifier, candidate, (FailureKind)random.Next(1, 8));
            }
            else if (IsLastKnown(classifier) && random.Next(3) == 0)
            {
                scores.Mark(classifier, candidate, (FailureKind)random.Next(1, 8));
            }
        }
    }

    private static void FillVerdicts(Decision decision, int rules, Random random)
    {
        var verdicts = decision.Verdicts;
        verdicts.Reset(decision.Batch.Count, decision.Terms.ShadowRules.Length);
        for (var candidate = 0; candidate < verdicts.Count; candidate++)
        {
            verdicts.Actions[candidate] = (CandidateAction)random.Next(1, 6);
            verdicts.Bases[candidate] = (Basis)random.Next(1, 5);
            verdicts.Rules[candidate] = (ushort)random.Next(rules);
            verdicts.Margins[candidate] = random.NextSingle() - 0.5f;
            if (random.Next(5) == 0)
            {
                Bitmap.Set(verdicts.Shadow(0), candidate);
            }
        }
    }

    private static DecisionTerms Terms(V1.FilterRequest request, int classifiers, int rules) => new(
        request.Surface,
        "policy",
        new string('a', 64),
        new string('b', 64),
        "0.1.0+test",
        [new BundleSlot("bundle", "1.2.3", new byte[32])],
        [.. Enumerable.Range(0, classifiers).Select(static i => new ClassifierSlot($"bundle/label-{i}", 0, (FailMode)(1 + i % 3), IsLastKnown(i) ? FailMode.Open : null))],
        [.. Enumerable.Range(0, rules).Select(static i => new RuleTerms($"rule-{i}", (CandidateAction)(1 + i % 5), $"REASON_{i}", (Severity)(i % 5), i % 5 == 3 ? 0.5f : 0, i % 5 == 1 ? "label" : "", i % 5 == 2 ? 18 : 0))],
        [new RuleTerms("shadow", CandidateAction.Block, "TRY", Severity.High, 0, "", 0)],
        [.. request.Attributes.Take(2).Select(static column => column.Name), "absent"],
        readsLanguage: true,
        allDownRule: rules - 1);

    private static bool IsLastKnown(int classifier) => classifier % 3 == 2;
}
