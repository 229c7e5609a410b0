using Microsoft.Extensions.Logging;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;
using SafetyFilter.Observability;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;

namespace SafetyFilter.Filtering;

/// <summary>
/// The way of a request: columns -> per bundle: breaker -> scores -> policy -> verdicts -> record in the ledger. One
/// pass on the caller's thread; nothing on the way waits, except for a part of a split run that a helper has begun (<see cref="RunSplitter"/>). Thread-safe; a <see cref="Decision"/> is used by one caller.
/// </summary>
internal sealed partial class FilterEngine(
    ServingStore serving, Spool ledger, FilterMetrics metrics, TimeProvider time, ILogger<FilterEngine> logger, RecordPrivacy? privacy = null,
    LastKnownScores? lastKnown = null, RunWatchdog? watchdog = null, RecentDecisions? recent = null, VerdictCache? verdicts = null,
    RunSplitter? splitter = null)
{
    private const int MicrosPerSecond = 1_000_000;

    private static readonly Refusal Late = new(
        RefusalKind.LedgerUnavailable, "The ledger's disk is late, and the surface's policy refuses then. Apply the ranker's own fail mode and try again.");

    // What fails, fails for every request: a line each would bury the log and make requests wait for it.
    private readonly LogThrottle _bundleLog = new(time);
    private readonly LogThrottle _ledgerLog = new(time);
    private readonly LogThrottle _lossLog = new(time);
    private readonly LastKnownScores _lastKnown = lastKnown ?? new LastKnownScores(new LastKnownOptions());
    private readonly byte[] _streamId = ledger.StreamId.ToByteArray(bigEndian: true);

    /// <summary>The ledger stream that decisions go to, 16 bytes.</summary>
    public ReadOnlySpan<byte> StreamId => _streamId;

    /// <summary>Decides a batch that has been read into <paramref name="decision"/>.</summary>
    /// <param name="decision">Its batch, its caller and the most budget that caller and server allow are the input; everything else of it is filled.</param>
    /// <param name="record">Scratch for the record.</param>
    /// <param name="receipt">Where the decision stands in the ledger.</param>
    /// <returns>
    /// Null when decided, and recorded as far as the policy asks for; otherwise why not, and then nothing was recorded. Where
    /// <see cref="IsUnconfirmed"/>, the answer must not leave before <see cref="Confirm"/>.
    /// </returns>
    public Refusal? Decide(Decision decision, ProtoWriter record, out LedgerReceipt receipt)
    {
        receipt = default;
        var started = time.GetTimestamp();
        if ((Find(serving.Current, decision.Batch, out var plan) ?? Unreadable(decision.Batch, plan)) is { } refusal)
        {
            return refusal;
        }

        if (decision.IsShed && !plan.Policy.ServesWhenShed)
        {
            // The policy has changed since that was decided.
            return Refusal.Overloaded;
        }

        if (plan.MaxBudgetMicros <= decision.BudgetMicros)
        {
            decision.BudgetMicros = plan.MaxBudgetMicros;
            decision.BudgetBound = BudgetBound.Server;
        }

        if (plan.Policy.BudgetMicros <= decision.BudgetMicros)
        {
            decision.BudgetMicros = (uint)plan.Policy.BudgetMicros;
            decision.BudgetBound = BudgetBound.Policy;
        }

        var gaps = Evaluate(decision, plan, started, _lastKnown, verdicts);
        if (RefuseAllDown(decision, plan) is { } down)
        {
            return down;
        }

        var lost = ledger.ClaimLosses();
        var shortfall = DecisionRecordEncoder.Encode(decision, _streamId, ledger.Epoch, lost, record, privacy);
        var appended = ledger.Append(RecordType.Decision, record.Written, plan.Terms.Record, decision.Batch.Count, out receipt);
        if (appended != AppendResult.Appended)
        {
            ledger.UnclaimLosses(lost);
            if (appended != AppendResult.Lost)
            {
                return LedgerRefused(appended);
            }
        }
        else
        {
            recent?.Offer(plan.Policy.Revision, record.Written, receipt.Sequence);
        }

        decision.EngineMicros = MicrosSince(started);
        if (shortfall != RecordShortfall.None)
        {
            CountShortfall(plan.Terms.Surface, shortfall);
        }

        CountGaps(plan, gaps);
        if (!IsUnconfirmed(decision, receipt))
        {
            Answered(decision, receipt);
        }

        return null;
    }

    /// <summary>Whether the surface's policy wants the record on the disk, and that is not known yet.</summary>
    public static bool IsUnconfirmed(Decision decision, in LedgerReceipt receipt) =>
        receipt.Durability == Durability.Process && decision.Terms.Record.Durability == Durability.Disk;

    /// <summary>Waits for the disk, without a thread and not longer than the ledger's patience.</summary>
    /// <returns>The receipt as it is now; or a refusal, and then a record says that the decision was withdrawn.</returns>
    public async ValueTask<(Refusal? Refusal, LedgerReceipt Receipt)> Confirm(Decision decision, LedgerReceipt receipt)
    {
        if (await ledger.WhenDurable(receipt.Sequence).ConfigureAwait(false))
        {
            receipt.Durability = Durability.Disk;
        }
        else if (decision.Terms.Record.RefuseWhenLate)
        {
            metrics.Withdrawn(decision.Terms.Surface);
            if (!ledger.TryWithdraw(receipt.Sequence))
            {
                NotWithdrawn(logger, receipt.Sequence);
            }

            return (LedgerRefused(AppendResult.Late), receipt);
        }
        else
        {
            receipt.Pending = true;
        }

        Answered(decision, receipt);
        return (null, receipt);
    }

    private void Answered(Decision decision, in LedgerReceipt receipt)
    {
        metrics.Decided(decision);
        if (receipt.Pending)
        {
            metrics.AnsweredPending(decision.Terms.Surface, receipt.Durability);
        }
        else if (receipt.Durability == Durability.Lost)
        {
            metrics.AnsweredLost(decision.Terms.Surface);
            if (_lossLog.TryTake(out var unsaid))
            {
                ServedWithoutRecord(logger, decision.Terms.Surface, ledger.LostTotal, unsaid);
            }
        }
    }

    /// <summary>Makes what the requests of a snapshot need and should not spend their budget on.</summary>
    public void Prepare(ServingSnapshot snapshot)
    {
        foreach (var plan in snapshot.Plans)
        {
            if (plan.LastKnown is not null)
            {
                _lastKnown.Allocate();
            }

            if (plan.Policy.UsesVerdictCache)
            {
                verdicts?.Open();
            }
        }
    }

    /// <summary>Gives back what the requests of a snapshot, which serves by now, do not need.</summary>
    public void Release(ServingSnapshot snapshot)
    {
        if (!snapshot.Plans.Any(static plan => plan.Policy.UsesVerdictCache))
        {
            verdicts?.Close();
        }
    }

    /// <summary>
    /// Goes the whole way on every surface, except into the ledger, so that the first request finds compiled code and does
    /// not spend its budget on it. To be called with a snapshot of its own breakers: a rehearsal is no evidence of anything.
    /// </summary>
    public void Rehearse(ServingSnapshot snapshot)
    {
        var decision = new Decision { BudgetMicros = uint.MaxValue };
        var record = new ProtoWriter();
        var scores = new LastKnownScores(new LastKnownOptions { MemoryBytes = LastKnownOptions.LeastBytes });
        using var cache = new VerdictCache(new VerdictCacheOptions { Entries = VerdictCacheOptions.LeastEntries }, time);
        cache.Open();
        Prepare(snapshot);
        foreach (var plan in snapshot.Plans)
        {
            Rehearsal.Fill(decision.Batch, plan);
            Rehearse(cache: null);
            if (plan.Policy.UsesVerdictCache)
            {
                // By itself: after the first round the models have nothing to do.
                Rehearse(cache);
            }

            if (plan.SplitAbove >= Rehearsal.Candidates && splitter?.PartsOf(plan.SplitAbove + 1, plan.SplitAbove) > 1)
            {
                Rehearsal.Fill(decision.Batch, plan, plan.SplitAbove + 1);
                Rehearse(cache: null);
            }
        }

        void Rehearse(VerdictCache? cache)
        {
            for (var i = 0; i < Rehearsal.Rounds; i++)
            {
                var started = time.GetTimestamp();
                if ((Find(snapshot, decision.Batch, out var found) ?? Unreadable(decision.Batch, found)) is null)
                {
                    Evaluate(decision, found, started, scores, cache);
                    DecisionRecordEncoder.Encode(decision, _streamId, ledger.Epoch, 0, record);
                }
            }
        }
    }

    private AttributeGaps Evaluate(Decision decision, SurfacePlan plan, long started, LastKnownScores scores, VerdictCache? cache)
    {
        decision.Begin(plan.Terms);
        decision.TimeUnixNanos = (time.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;

        if (cache is not null && plan.Policy.UsesVerdictCache && !decision.IsShed)
        {
            // Before the scores: what is remembered of them is found by these.
            InputDigest.Compute(decision.Batch, decision.InputDigests);
            ScoreWith(CacheLookup.Begin(decision, cache), decision, plan, started);
        }
        else
        {
            ScoreWith(lookup: null, decision, plan, started);
            InputDigest.Compute(decision.Batch, decision.InputDigests);
        }

        plan.LastKnown?.Apply(decision, scores);
        var gaps = plan.Policy.Decide(decision.Batch, decision.Scores, decision.TimeUnixNanos / 1_000_000, decision.Verdicts);
        decision.CollectUsedRules();
        decision.EngineMicros = MicrosSince(started);
        return gaps;
    }

    private static Refusal? Find(ServingSnapshot? snapshot, CandidateBatch batch, out SurfacePlan plan)
    {
        plan = null!;
        if (snapshot is null)
        {
            return new Refusal(RefusalKind.Unavailable, "The safety filter is not serving: it is starting or draining. Try again, or ask another instance.");
        }

        if (!snapshot.TryGetPlan(batch[batch.Surface], out var found))
        {
            return new Refusal(
                RefusalKind.UnknownSurface,
                $"surface '{batch.Surface.ToString(batch.Buffer)}' is not served by any loaded policy. Send one of: {snapshot.Surfaces}.");
        }

        if (!found.Policy.Serves(batch.EffectivePurpose))
        {
            return new Refusal(
                RefusalKind.PurposeNotAllowed,
                $"purpose '{System.Text.Encoding.UTF8.GetString(batch.EffectivePurpose)}' is not one that policy '{found.Policy.Name}' serves. Send one of: {string.Join(", ", found.Policy.Purposes)}.");
        }

        plan = found;
        return null;
    }

    private void ScoreWith(CacheLookup? lookup, Decision decision, SurfacePlan plan, long started)
    {
        // One who would split has to know which cores are idle, from every request.
        var counts = plan.SplitAbove > 0 && splitter is not null;
        if (counts)
        {
            splitter!.Enter();
        }

        try
        {
            for (var i = 0; i < plan.Steps.Length; i++)
            {
                decision.Runs[i] = Score(decision, plan, i, started, lookup);
            }
        }
        finally
        {
            lookup?.End();
            if (counts)
            {
                splitter!.Leave();
            }
        }
    }

    private BundleRun Score(Decision decision, SurfacePlan plan, int index, long started, CacheLookup? lookup)
    {
        var step = plan.Steps[index];
        var breaker = step.Bundle.State;
        if (decision.IsShed)
        {
            step.Fail(decision.Scores, FailureKind.Shed);
            return new BundleRun(FailureKind.Shed, breaker, 0);
        }

        // An open breaker says nothing against scores that the bundle gave while it was well. An operator who isolates it wants none of it.
        if (lookup is null || breaker == BreakerState.Isolated)
        {
            return Run(decision, plan, step, breaker, started, left: []);
        }

        lookup.Recall(index, step);
        var run = new BundleRun(FailureKind.None, breaker, 0);
        if (!lookup.NothingLeft && (run = Run(decision, plan, step, breaker, started, lookup.Left)).Failure == FailureKind.None)
        {
            lookup.Keep(index, step);
        }

        return run with { LookedUp = lookup.LookedUp, Remembered = lookup.Remembered };
    }

    // Left: the candidates to score; empty: all.
    private BundleRun Run(Decision decision, SurfacePlan plan, BundleStep step, BreakerState breaker, long started, ReadOnlySpan<int> left)
    {
        var candidates = left.IsEmpty ? decision.Batch.Count : left.Length;
        var cost = step.Bundle.Bundle.Cost;
        var before = MicrosSince(started);
        var microsLeft = decision.BudgetMicros - Math.Min(before, decision.BudgetMicros);

        // One that is open says itself that it is, and when a trial is due.
        if (microsLeft == 0 || (breaker is BreakerState.Closed or BreakerState.HalfOpen && !cost.MayStart(candidates, microsLeft)))
        {
            step.Fail(decision.Scores, FailureKind.OverBudget, left);
            return new BundleRun(FailureKind.OverBudget, breaker, 0);
        }

        var limit = new RunLimit(microsLeft, decision.BudgetBound == BudgetBound.Deadline, watchdog, decision.BudgetMicros);
        var outcome = step.Bundle.Score(decision.Batch, decision.Scores, step.Rows, limit, left, splitter, plan.SplitAbove);
        var parts = outcome.Parts;
        var ran = outcome.Failure is not (FailureKind.BreakerOpen or FailureKind.MissingFeature or FailureKind.FeatureMismatch);
        if (ran && breaker == BreakerState.Open)
        {
            // The break is over when the first call after it comes, so that call was a trial.
            breaker = BreakerState.HalfOpen;
        }

        var took = ran ? Math.Max(1, MicrosSince(started) - before) : 0;
        if (outcome.Failure == FailureKind.None)
        {
            if (!outcome.IsVain)
            {
                cost.Ended(candidates, took, microsLeft);
            }

            if (took > microsLeft)
            {
                outcome = new ScoringOutcome(FailureKind.OverBudget, 0, null);
            }
        }
        else if (outcome.Failure == FailureKind.OverBudget)
        {
            cost.Cut(candidates, took);
        }

        if (outcome.Failure != FailureKind.None)
        {
            step.Fail(decision.Scores, outcome.Failure, left);
        }

        if (outcome.Error is not null && _bundleLog.TryTake(out var unsaid))
        {
            BundleThrew(logger, outcome.Error, step.Bundle.Bundle.Name, outcome.Failure, unsaid);
        }

        return new BundleRun(outcome.Failure, breaker, took) { Parts = parts };
    }

    private Refusal? RefuseAllDown(Decision decision, SurfacePlan plan)
    {
        if (!decision.Scores.IsAllDown())
        {
            return null;
        }

        metrics.AllDown(plan.Terms.Surface, plan.Policy.AllDown);
        return plan.Policy.Refuses(decision.Scores)
            ? new Refusal(
                RefusalKind.ClassifiersDown,
                $"Every classifier of surface '{plan.Terms.Surface}' is down, and its policy '{plan.Terms.PolicyName}' gives no answer then. Apply the ranker's own fail mode and try again, or ask another instance.")
            : null;
    }

    // A request that no classifier can read is the caller's mistake; fail modes would only hide it.
    private static Refusal? Unreadable(CandidateBatch batch, SurfacePlan plan)
    {
        foreach (var step in plan.Steps)
        {
            if (step.Bundle.Bundle.Refuses(batch) == FailureKind.None)
            {
                return null;
            }
        }

        return plan.Steps.IsEmpty ? null : new Refusal(
            RefusalKind.InvalidArgument,
            $"The request has no feature that a classifier of surface '{plan.Terms.Surface}' can read. Send at least one of: {string.Join("; ", FeaturesOf(plan))}.");
    }

    private static IEnumerable<string> FeaturesOf(SurfacePlan plan) => plan.Steps
        .SelectMany(static step => step.Bundle.Bundle.Manifest.Features.Select(feature => $"{feature.Describe()} ({step.Bundle.Bundle.Name})"))
        .Distinct(StringComparer.Ordinal);

    private Refusal LedgerRefused(AppendResult result)
    {
        if (result == AppendResult.TooLarge)
        {
            return new Refusal(RefusalKind.InvalidArgument, "The decision's record is larger than Ledger:Spool:MaxRecordBytes. Split the page over several requests.");
        }

        if (_ledgerLog.TryTake(out var unsaid))
        {
            LedgerRefusedRecord(logger, result, unsaid);
        }

        return result == AppendResult.Late ? Late : new Refusal(RefusalKind.LedgerUnavailable, "The ledger cannot record decisions now, and an unrecorded decision is not given. Apply the ranker's own fail mode and try again.");
    }

    private void CountShortfall(string surface, RecordShortfall shortfall)
    {
        if ((shortfall & RecordShortfall.Unsealed) != RecordShortfall.None)
        {
            metrics.NotSealed(surface);
        }

        if ((shortfall & RecordShortfall.InputsDropped) != RecordShortfall.None)
        {
            metrics.InputsDropped(surface);
        }
    }

    private void CountGaps(SurfacePlan plan, AttributeGaps gaps)
    {
        if ((gaps.Absent | gaps.Mismatched) == 0)
        {
            return;
        }

        for (var i = 0; i < plan.Policy.Attributes.Length; i++)
        {
            if ((gaps.Absent >> i & 1) != 0)
            {
                metrics.AttributeGap(plan.Terms.Surface, plan.Policy.Attributes[i].Name, "absent");
            }
            else if ((gaps.Mismatched >> i & 1) != 0)
            {
                metrics.AttributeGap(plan.Terms.Surface, plan.Policy.Attributes[i].Name, "mismatched");
            }
        }
    }

    private uint MicrosSince(long started) => (uint)((time.GetTimestamp() - started) * MicrosPerSecond / time.TimestampFrequency);

    [LoggerMessage(EventIds.BundleThrew, LogLevel.Warning, "Bundle {Bundle} gave no scores: {Failure} ({Unsaid} more of the kind since the last line)")]
    private static partial void BundleThrew(ILogger logger, Exception error, string bundle, FailureKind failure, long unsaid);

    [LoggerMessage(EventIds.LedgerServedLost, LogLevel.Error,
        "The ledger has no room; surface {Surface} is answered without a record, as its policy says ({Total} such answers in this stream, {Unsaid} lines unsaid)")]
    private static partial void ServedWithoutRecord(ILogger logger, string surface, ulong total, long unsaid);

    [LoggerMessage(EventIds.LedgerNotWithdrawn, LogLevel.Error,
        "The decision with sequence {Sequence} was refused after it was recorded, and there is no room for the record that says so")]
    private static partial void NotWithdrawn(ILogger logger, ulong sequence);

    [LoggerMessage(EventIds.LedgerRefused, LogLevel.Error, "The ledger took no record ({Result}); the request is refused ({Unsaid} more since the last line)")]
    private static partial void LedgerRefusedRecord(ILogger logger, AppendResult result, long unsaid);
}
