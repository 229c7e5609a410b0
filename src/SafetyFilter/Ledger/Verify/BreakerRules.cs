using SafetyFilter.Lineage.V1;
using Reason = SafetyFilter.Lineage.V1.BreakerChange.Types.Reason;
using State = SafetyFilter.Lineage.V1.DecisionRecord.Types.BreakerState;

namespace SafetyFilter.Ledger.Verify;

/// <summary>What every BreakerChange must say.</summary>
internal static class BreakerRules
{
    /// <summary>What is wrong with it, after "record ..."; null when nothing is.</summary>
    public static string? Fault(BreakerChange change)
    {
        if (change.Bundle.Length == 0)
        {
            return "is a BreakerChange of no bundle";
        }

        if (change.State is < State.Closed or > State.Isolated)
        {
            return $"is a BreakerChange to state {(int)change.State}, which there is not";
        }

        // From before there were reasons.
        if (change.Reason == Reason.Unspecified)
        {
            return null;
        }

        if (change.Group.Length == 0)
        {
            return "is a BreakerChange of no group";
        }

        var leadsTo = change.Reason switch
        {
            Reason.Failures or Reason.SlowCalls or Reason.TrialFailed => change.State == State.Open,
            Reason.BreakEnded => change.State == State.HalfOpen,
            Reason.TrialsSucceeded or Reason.Reloaded => change.State == State.Closed,
            Reason.Operator => change.State is State.Closed or State.Isolated,
            _ => false,
        };
        return !leadsTo ? $"is a BreakerChange to {change.State} for reason {change.Reason}, which does not lead there"
            : change.State == State.Open && change.BreakMillis == 0 ? "is a BreakerChange that opens for no time"
            : change.State != State.Open && change.BreakMillis > 0 ? $"is a BreakerChange to {change.State} for a break of {change.BreakMillis} ms"
            : change.Reason == Reason.Operator != change.Actor.Length > 0 ? $"is a BreakerChange for reason {change.Reason} by '{change.Actor}'"
            : null;
    }
}
