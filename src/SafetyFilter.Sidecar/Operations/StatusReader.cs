using Google.Protobuf;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Observability;
using SafetyFilter.Operations.V1;
using SafetyFilter.Sidecar.Hosting;
using SafetyFilter.Sidecar.Reload;

namespace SafetyFilter.Sidecar.Operations;

/// <summary>What serves, and how it fares. Reads counters that are there anyway; asks nothing of the request path.</summary>
internal sealed class StatusReader(
    ServingStore serving, ServingLifecycle lifecycle, DecisionLedger ledger, FilterMetrics metrics, BreakerBoard breakers, Grpc.Admission admission, ReloadService reload,
    TimeProvider time)
{
    public SidecarStatus Read()
    {
        var now = time.GetUtcNow();
        var status = new SidecarStatus
        {
            TimeUnixNanos = Nanos(now),
            Build = SidecarSetup.Build,
            Serving = lifecycle.IsServing,
            ServingSeconds = lifecycle.ServingSince is { } since && lifecycle.IsServing ? (ulong)Math.Max(0, (now - since).TotalSeconds) : 0,
            Breakers = { breakers.Read().Select(Describe) },
            Admission = Places(),
            Ledger = Ledger(),
            Reload = Reloads(),
        };
        Surfaces(status);
        Troubles(status);
        return status;
    }

    public static BreakerStatus Describe(BreakerReading breaker) => new()
    {
        Bundle = breaker.Bundle,
        Group = breaker.Group,
        State = (BreakerStatus.Types.State)breaker.State,
        OpenForMillis = (ulong)Math.Ceiling(breaker.BreakLeft.TotalMilliseconds),
        Surfaces = { breaker.Surfaces },
        Calls = (ulong)breaker.Calls,
        Failures = (ulong)breaker.Failures,
        SlowCalls = (ulong)breaker.SlowCalls,
        TurnedAway = (ulong)breaker.TurnedAway,
        Trials = (uint)breaker.Trials,
        TrialsNeeded = (uint)breaker.TrialsNeeded,
    };

    private SafetyFilter.Operations.V1.ReloadStatus Reloads()
    {
        var status = reload.Status;
        return new SafetyFilter.Operations.V1.ReloadStatus
        {
            Accepted = (ulong)status.Accepted,
            Refused = (ulong)status.Refused,
            LastAcceptedUnixNanos = Nanos(status.LastAccepted),
            LastRefusedUnixNanos = Nanos(status.LastRefused),
            Errors = { status.Errors },
            Pending = { status.Pending },
        };
    }

    private static ulong Nanos(DateTimeOffset? time) => time is { } one ? (ulong)(one - DateTimeOffset.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick : 0;

    private AdmissionStatus Places()
    {
        var (inFlight, places, waiting, refused, served) = admission.Read();
        return new AdmissionStatus
        {
            InFlight = (uint)Math.Max(0, inFlight),
            Limit = (uint)places,
            Waiting = (uint)Math.Max(0, waiting),
            Refused = (ulong)refused,
            ServedByFailMode = (ulong)served,
        };
    }

    private void Surfaces(SidecarStatus status)
    {
        var plans = (serving.Current?.Plans ?? []).ToDictionary(static plan => plan.Terms.Surface, StringComparer.Ordinal);
        var totals = metrics.Totals.ToDictionary(StringComparer.Ordinal);
        foreach (var surface in plans.Keys.Union(totals.Keys, StringComparer.Ordinal).Order(StringComparer.Ordinal))
        {
            var one = new SurfaceStatus { Name = surface };
            if (plans.TryGetValue(surface, out var plan))
            {
                one.Policy = plan.Policy.Name;
                one.PolicyRevision = plan.Policy.Revision;
                status.ConfigRevision = plan.Terms.ConfigRevisionText;
            }

            if (totals.TryGetValue(surface, out var counted))
            {
                one.Requests = (ulong)counted.Requests;
                one.Candidates = (ulong)counted.Candidates;
                one.Allowed = (ulong)counted.Of(CandidateAction.Allow);
                one.Labelled = (ulong)counted.Of(CandidateAction.Label);
                one.AgeRestricted = (ulong)counted.Of(CandidateAction.AgeRestrict);
                one.Demoted = (ulong)counted.Of(CandidateAction.Demote);
                one.Blocked = (ulong)counted.Of(CandidateAction.Block);
                one.Degraded = (ulong)counted.Degraded;
                one.OverBudget = (ulong)counted.OverBudget;
                one.EngineMicros = (ulong)counted.EngineMicros;
                one.BudgetMicros = (ulong)counted.BudgetMicros;
            }

            status.Surfaces.Add(one);
        }
    }

    private LedgerStatus Ledger()
    {
        var (spool, reading) = (ledger.Spool, ledger.Read());
        return new LedgerStatus
        {
            StreamId = ByteString.CopyFrom(spool.StreamId.ToByteArray(bigEndian: true)),
            Epoch = spool.Epoch,
            LastSequence = spool.LastSequence,
            DurableSequence = spool.DurableSequence,
            SignedSize = spool.Notary.SignedSize,
            Kafka = ledger.Publishes,
            Unpublished = (ulong)reading.Unpublished,
            OldestUnpublishedMillis = (ulong)reading.OldestUnpublished.TotalMilliseconds,
            FreeBytes = (ulong)Math.Max(0, reading.FreeBytes),
            Lost = (ulong)reading.LostTotal,
        };
    }

    private void Troubles(SidecarStatus status)
    {
        if (!status.Serving)
        {
            status.Troubles.Add("not serving: starting or draining");
        }

        foreach (var breaker in status.Breakers.Where(static one => one.State != BreakerStatus.Types.State.Closed))
        {
            status.Troubles.Add($"breaker of {breaker.Bundle} (group {breaker.Group}): {breaker.State}");
        }

        foreach (var plan in serving.Current?.Plans.Where(static plan => plan is { IsDown: true, HasHard: true }) ?? [])
        {
            status.Troubles.Add($"surface {plan.Terms.Surface}: no classifier can be called, and as one is hard every candidate is blocked");
        }

        foreach (var error in status.Reload.Errors)
        {
            status.Troubles.Add($"reload: {error}");
        }

        foreach (var (part, trouble) in new[] { ("disk", ledger.Spool.Trouble), ("signing", ledger.Spool.Notary.Trouble), ("kafka", ledger.PublisherTrouble) })
        {
            if (trouble is not null)
            {
                status.Troubles.Add($"{part}: {trouble}");
            }
        }
    }
}
