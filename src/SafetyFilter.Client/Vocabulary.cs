namespace SafetyFilter.Client;

/// <summary>What to do with a candidate, weakest to strongest; the values compare in that order and are the wire's.</summary>
public enum FilterAction
{
    /// <summary>Show as ranked.</summary>
    Allow = 1,

    /// <summary>Show with <see cref="Verdict.Label"/>.</summary>
    Label = 2,

    /// <summary>Show only to viewers of at least <see cref="Verdict.MinimumAge"/>.</summary>
    AgeRestrict = 3,

    /// <summary>Multiply the ranking score by <see cref="Verdict.DemoteFactor"/>.</summary>
    Demote = 4,

    /// <summary>Do not show.</summary>
    Block = 5,
}

/// <summary>What a verdict rests on: an allowed candidate that was evaluated differs from one whose classifier failed open.</summary>
public enum VerdictBasis
{
    /// <summary>Every classifier that the policy reads gave a score.</summary>
    Evaluated = 1,

    /// <summary>At least one classifier gave no score and failed open; none failed closed.</summary>
    FailedOpen = 2,

    /// <summary>At least one classifier gave no score and failed closed: it counted as over every limit.</summary>
    FailedClosed = 3,

    /// <summary>At least one score is one remembered for the candidate's content version; the others were given, or remembered too.</summary>
    LastKnown = 4,
}

/// <summary>Why a classifier gave no score.</summary>
public enum FailureKind
{
    /// <summary>It gave a score.</summary>
    None = 0,

    /// <summary>It ran and threw.</summary>
    Error = 1,

    /// <summary>It ran and gave NaN, infinity, a number outside 0..1 or a wrong shape.</summary>
    InvalidOutput = 2,

    /// <summary>Not enough of the budget was left to run it.</summary>
    OverBudget = 3,

    /// <summary>Its circuit breaker is open: it was not called.</summary>
    BreakerOpen = 4,

    /// <summary>The sidecar was too busy and served by fail mode.</summary>
    Shed = 5,

    /// <summary>The request lacks the feature for this candidate.</summary>
    MissingFeature = 6,

    /// <summary>The feature's type or shape is not the one that the classifier reads.</summary>
    FeatureMismatch = 7,
}

/// <summary>What a policy does when a classifier gives no score.</summary>
public enum FailMode
{
    /// <summary>Count as over every limit.</summary>
    Closed = 1,

    /// <summary>Count as under every limit, and mark the verdict.</summary>
    Open = 2,

    /// <summary>Take the score remembered for the candidate's content version, and mark the verdict.</summary>
    LastKnown = 3,
}

/// <summary>How grave a rule's reason is.</summary>
public enum Severity
{
    /// <summary>The rule names none.</summary>
    Unspecified = 0,

    /// <summary>Low.</summary>
    Low = 1,

    /// <summary>Medium.</summary>
    Medium = 2,

    /// <summary>High.</summary>
    High = 3,

    /// <summary>Critical.</summary>
    Critical = 4,
}

/// <summary>How far a decision's record had come when the answer left.</summary>
public enum Durability
{
    /// <summary>The answer does not say.</summary>
    Unspecified = 0,

    /// <summary>In the sidecar's memory only.</summary>
    Memory = 1,

    /// <summary>In the operating system's page cache: survives a crash of the sidecar, not of the machine.</summary>
    Process = 2,

    /// <summary>On the disk: survives loss of power.</summary>
    Disk = 3,

    /// <summary>Nowhere: the ledger had no room and the surface's policy serves on. The decision is counted, not recorded.</summary>
    Lost = 4,
}
