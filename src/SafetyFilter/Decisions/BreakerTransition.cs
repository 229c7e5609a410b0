namespace SafetyFilter.Decisions;

/// <summary>What made a breaker change its state. The values are the wire values.</summary>
internal enum BreakerReason : byte
{
    /// <summary>Too large a share of calls failed.</summary>
    Failures = 1,

    /// <summary>Too large a share of calls was slow.</summary>
    SlowCalls = 2,

    /// <summary>A trial call failed or was slow.</summary>
    TrialFailed = 3,

    /// <summary>The break is over.</summary>
    BreakEnded = 4,

    /// <summary>As many trial calls as it takes went well.</summary>
    TrialsSucceeded = 5,

    /// <summary>Somebody did it by hand.</summary>
    Operator = 6,

    /// <summary>What it guarded is no longer served, or not in this form.</summary>
    Reloaded = 7,
}

/// <summary>A circuit breaker changed its state.</summary>
/// <param name="Group">The group of surfaces that share it.</param>
/// <param name="State">What it is from here on.</param>
/// <param name="Failure">How the call failed that opened it; None when it did not open, or opened because calls were slow.</param>
/// <param name="Break">How long it stays open, when it opened.</param>
/// <param name="Actor">Who, when an operator did it; else empty.</param>
internal sealed record BreakerTransition(
    string Bundle,
    string Group,
    BreakerState State,
    BreakerReason Reason,
    FailureKind Failure = FailureKind.None,
    TimeSpan Break = default,
    string Actor = "");
