using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using SafetyFilter.Decisions;

namespace SafetyFilter.Observability;

/// <summary>Every instrument of the request path. Names are stable: dashboards and alerts use them.</summary>
internal sealed class FilterMetrics(Meter meter)
{
    public const string MeterName = "SafetyFilter";

    private readonly ConcurrentDictionary<string, SurfaceTotals> _totals = new(StringComparer.Ordinal);

    private readonly Counter<long> _requests = meter.CreateCounter<long>(
        "safetyfilter.requests", "{request}", "Requests by outcome and, when decided, surface");

    private readonly Counter<long> _candidates = meter.CreateCounter<long>(
        "safetyfilter.candidates", "{candidate}", "Decided candidates by surface and action");

    private readonly Counter<long> _degraded = meter.CreateCounter<long>(
        "safetyfilter.degraded_candidates", "{candidate}", "Candidates without a score of a classifier's own, by surface, classifier, cause and what stood in for it");

    private readonly Counter<long> _lookups = meter.CreateCounter<long>(
        "safetyfilter.verdict_cache.lookups", "{candidate}",
        "Candidates of surfaces that use the verdict cache, by surface, bundle and outcome (hit, miss; none: not looked for)");

    private readonly Counter<long> _allDown = meter.CreateCounter<long>(
        "safetyfilter.all_down", "{request}", "Requests that found every classifier of their surface down, by surface and what its policy does then");

    private readonly Counter<long> _attributeGaps = meter.CreateCounter<long>(
        "safetyfilter.attribute_gaps", "{request}", "Requests without an attribute that rules read, or with another kind of it");

    private readonly Counter<long> _pending = meter.CreateCounter<long>(
        "safetyfilter.answers.pending", "{answer}", "Answers that left before their record was as sure as the policy asks for, by surface and what it had reached");

    private readonly Counter<long> _lost = meter.CreateCounter<long>(
        "safetyfilter.answers.lost", "{answer}", "Answers without a record, because the ledger had no room and the policy serves on, by surface");

    private readonly Counter<long> _withdrawn = meter.CreateCounter<long>(
        "safetyfilter.answers.withdrawn", "{answer}", "Decisions that were recorded and then refused, because the disk was late, by surface");

    private readonly Counter<long> _shortfalls = meter.CreateCounter<long>(
        "safetyfilter.record_shortfalls", "{record}", "Records that show less than their policy meant, by surface and cause");

    private readonly Counter<long> _breakerChanges = meter.CreateCounter<long>(
        "safetyfilter.breaker.transitions", "{transition}", "Breaker state changes by bundle, group of surfaces, new state and reason");

    private readonly Counter<long> _reloads = meter.CreateCounter<long>(
        "safetyfilter.reloads", "{reload}", "Changes of what serves, by outcome (accepted, refused) and source (file, rpc)");

    private readonly Histogram<double> _engineTime = meter.CreateHistogram(
        "safetyfilter.engine.duration", "s", "Engine time of a request: decoded columns to appended record",
        advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = SubMillisecondBuckets });

    private readonly Histogram<double> _bundleTime = meter.CreateHistogram(
        "safetyfilter.bundle.duration", "s", "Time of one bundle for one request",
        advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = SubMillisecondBuckets });

    private static readonly double[] SubMillisecondBuckets =
        [25e-6, 50e-6, 100e-6, 200e-6, 300e-6, 400e-6, 500e-6, 700e-6, 1e-3, 1.5e-3, 2e-3, 5e-3, 10e-3, 25e-3, 100e-3];

    public static string TagOf(CandidateAction action) => action switch
    {
        CandidateAction.Allow => "allow",
        CandidateAction.Label => "label",
        CandidateAction.AgeRestrict => "age_restrict",
        CandidateAction.Demote => "demote",
        _ => "block",
    };

    public static string TagOf(FailureKind kind) => kind switch
    {
        FailureKind.None => "none",
        FailureKind.Error => "error",
        FailureKind.InvalidOutput => "invalid_output",
        FailureKind.OverBudget => "over_budget",
        FailureKind.BreakerOpen => "breaker_open",
        FailureKind.Shed => "shed",
        FailureKind.MissingFeature => "missing_feature",
        _ => "feature_mismatch",
    };

    public static string TagOf(FailMode mode) => mode switch
    {
        FailMode.Closed => "closed",
        FailMode.Open => "open",
        _ => "last_known",
    };

    public static string TagOf(AllDownMode mode) => mode switch
    {
        AllDownMode.Classifiers => "classifiers",
        AllDownMode.Block => "block",
        AllDownMode.Allow => "allow",
        _ => "refuse",
    };

    public static string TagOf(BreakerState state) => state switch
    {
        BreakerState.Closed => "closed",
        BreakerState.Open => "open",
        BreakerState.HalfOpen => "half_open",
        _ => "isolated",
    };

    public static string TagOf(BreakerReason reason) => reason switch
    {
        BreakerReason.Failures => "failures",
        BreakerReason.SlowCalls => "slow_calls",
        BreakerReason.TrialFailed => "trial_failed",
        BreakerReason.BreakEnded => "break_ended",
        BreakerReason.TrialsSucceeded => "trials_succeeded",
        BreakerReason.Operator => "operator",
        _ => "reloaded",
    };

    public static string TagOf(Durability durability) => durability switch
    {
        Durability.Memory => "memory",
        Durability.Process => "process",
        Durability.Disk => "disk",
        _ => "lost",
    };

    public static string TagOf(RefusalKind kind) => kind switch
    {
        RefusalKind.InvalidArgument => "invalid_argument",
        RefusalKind.UnknownSurface => "not_found",
        RefusalKind.PurposeNotAllowed => "permission_denied",
        RefusalKind.TooLarge => "resource_exhausted",
        RefusalKind.LedgerUnavailable => "ledger_unavailable",
        RefusalKind.Internal => "internal",
        RefusalKind.ClassifiersDown => "classifiers_down",
        RefusalKind.Overloaded => "overloaded",
        RefusalKind.CallerGone => "caller_gone",
        _ => "unavailable",
    };

    /// <summary>Counts one refused request. Its surface is the caller's word and may be anything, so it is no tag.</summary>
    public void Refused(RefusalKind kind) => _requests.Add(1, new KeyValuePair<string, object?>("outcome", TagOf(kind)));

    public void AttributeGap(string surface, string attribute, string gap)
    {
        var tags = new TagList { { "surface", surface }, { "attribute", attribute }, { "gap", gap } };
        _attributeGaps.Add(1, tags);
    }

    /// <summary>Counts a request for which no classifier worked, whether it is answered or not.</summary>
    public void AllDown(string surface, AllDownMode mode) =>
        _allDown.Add(1, new KeyValuePair<string, object?>("surface", surface), new KeyValuePair<string, object?>("mode", TagOf(mode)));

    public void AnsweredPending(string surface, Durability reached) =>
        _pending.Add(1, new KeyValuePair<string, object?>("surface", surface), new KeyValuePair<string, object?>("reached", TagOf(reached)));

    public void AnsweredLost(string surface) => _lost.Add(1, new KeyValuePair<string, object?>("surface", surface));

    public void Withdrawn(string surface) => _withdrawn.Add(1, new KeyValuePair<string, object?>("surface", surface));

    /// <summary>Counts a record whose fields could not be sealed for want of a subject or its key.</summary>
    public void NotSealed(string surface) => FellShort(surface, "not_sealed");

    /// <summary>Counts a record that had no room for its inputs.</summary>
    public void InputsDropped(string surface) => FellShort(surface, "inputs_dropped");

    private void FellShort(string surface, string cause) =>
        _shortfalls.Add(1, new KeyValuePair<string, object?>("surface", surface), new KeyValuePair<string, object?>("cause", cause));

    public void BreakerChanged(BreakerTransition change)
    {
        var tags = new TagList
        {
            { "bundle", change.Bundle },
            { "group", change.Group },
            { "state", TagOf(change.State) },
            { "reason", TagOf(change.Reason) },
        };
        _breakerChanges.Add(1, tags);
    }

    public void Reloaded(bool accepted, string source) => _reloads.Add(
        1, new KeyValuePair<string, object?>("outcome", accepted ? "accepted" : "refused"), new KeyValuePair<string, object?>("source", source));

    /// <summary>What was answered for each surface since the start of the process, also for those no longer served.</summary>
    public IEnumerable<KeyValuePair<string, SurfaceTotals>> Totals => _totals;

    /// <summary>Counts one answered request.</summary>
    public void Decided(Decision decision)
    {
        var surface = new KeyValuePair<string, object?>("surface", decision.Terms.Surface);
        _requests.Add(1, surface, new KeyValuePair<string, object?>("outcome", "ok"));
        _engineTime.Record(decision.EngineMicros * 1e-6, surface);
        var totals = _totals.GetOrAdd(decision.Terms.Surface, static _ => new SurfaceTotals());
        totals.Add(decision.Batch.Count, Degraded(decision.Verdicts.Bases), decision.EngineMicros, decision.BudgetMicros);
        CountActions(decision, surface, totals);
        CountBundles(decision, surface);
        CountDegraded(decision, surface);
    }

    private void CountActions(Decision decision, KeyValuePair<string, object?> surface, SurfaceTotals totals)
    {
        Span<int> counts = stackalloc int[(int)CandidateAction.Block + 1];
        foreach (var action in decision.Verdicts.Actions)
        {
            counts[(int)action]++;
        }

        for (var action = CandidateAction.Allow; action <= CandidateAction.Block; action++)
        {
            if (counts[(int)action] > 0)
            {
                totals.Add(action, counts[(int)action]);
                _candidates.Add(counts[(int)action], surface, new KeyValuePair<string, object?>("action", TagOf(action)));
            }
        }
    }

    private static int Degraded(ReadOnlySpan<Basis> bases)
    {
        var degraded = 0;
        foreach (var basis in bases)
        {
            degraded += basis == Basis.Evaluated ? 0 : 1;
        }

        return degraded;
    }

    private void CountBundles(Decision decision, KeyValuePair<string, object?> surface)
    {
        var runs = decision.Runs;
        for (var i = 0; i < runs.Length; i++)
        {
            if (runs[i].Micros > 0)
            {
                _bundleTime.Record(
                    runs[i].Micros * 1e-6, new KeyValuePair<string, object?>("bundle", decision.Terms.Bundles[i].NameText));
            }

            if (decision.Terms.UsesVerdictCache)
            {
                var bundle = new KeyValuePair<string, object?>("bundle", decision.Terms.Bundles[i].NameText);
                CountLookups(runs[i].Remembered, "hit", surface, bundle);
                CountLookups(runs[i].LookedUp - runs[i].Remembered, "miss", surface, bundle);
                CountLookups(decision.Batch.Count - runs[i].LookedUp, "none", surface, bundle);
            }
        }
    }

    private void CountLookups(int candidates, string outcome, KeyValuePair<string, object?> surface, KeyValuePair<string, object?> bundle)
    {
        if (candidates > 0)
        {
            _lookups.Add(candidates, surface, bundle, new KeyValuePair<string, object?>("outcome", outcome));
        }
    }

    private void CountDegraded(Decision decision, KeyValuePair<string, object?> surface)
    {
        Span<int> counts = stackalloc int[((int)FailureKind.FeatureMismatch + 1) * 4];
        for (var classifier = 0; classifier < decision.Scores.Classifiers; classifier++)
        {
            if (!decision.Scores.IsIncomplete(classifier))
            {
                continue;
            }

            counts.Clear();
            for (var candidate = 0; candidate < decision.Scores.Count; candidate++)
            {
                counts[decision.MarkOf(classifier, candidate)]++;
            }

            for (var mark = 4; mark < counts.Length; mark++)
            {
                if (counts[mark] > 0)
                {
                    var tags = new TagList
                    {
                        surface,
                        { "classifier", decision.Terms.Classifiers[classifier].NameText },
                        { "cause", TagOf((FailureKind)(mark >> 2)) },
                        { "mode", TagOf((FailMode)(mark & 3)) },
                    };
                    _degraded.Add(counts[mark], tags);
                }
            }
        }
    }
}
