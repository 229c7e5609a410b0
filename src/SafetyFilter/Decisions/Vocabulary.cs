namespace SafetyFilter.Decisions;

/// <summary>What to do with a candidate, weakest to strongest; the values compare in that order and are the wire values.</summary>
internal enum CandidateAction : byte
{
    Allow = 1,
    Label = 2,
    AgeRestrict = 3,
    Demote = 4,
    Block = 5,
}

/// <summary>What a verdict rests on. The values are the wire values.</summary>
internal enum Basis : byte
{
    /// <summary>Every classifier that the policy reads gave a score.</summary>
    Evaluated = 1,

    /// <summary>At least one classifier gave no score and failed open; none failed closed.</summary>
    FailedOpen = 2,

    /// <summary>At least one classifier gave no score and failed closed.</summary>
    FailedClosed = 3,

    /// <summary>At least one score is one remembered for the candidate's content version; the others were given, or remembered too.</summary>
    LastKnown = 4,
}

/// <summary>Why a classifier gave no score. The values are the wire values.</summary>
internal enum FailureKind : byte
{
    /// <summary>It gave a score.</summary>
    None = 0,

    /// <summary>It ran and threw.</summary>
    Error = 1,

    /// <summary>It ran and gave NaN, infinity, a number outside 0..1 or a wrong shape.</summary>
    InvalidOutput = 2,

    /// <summary>Not enough of the budget was left to run it, or it overran.</summary>
    OverBudget = 3,

    /// <summary>Its circuit breaker is open; it was not called.</summary>
    BreakerOpen = 4,

    /// <summary>The server was too busy.</summary>
    Shed = 5,

    /// <summary>The request lacks the feature. The caller's doing: never a breaker failure.</summary>
    MissingFeature = 6,

    /// <summary>The feature's dtype or shape is not the model's. The caller's doing: never a breaker failure.</summary>
    FeatureMismatch = 7,
}

/// <summary>What a policy does when a classifier gives no score. The values are the wire values.</summary>
internal enum FailMode : byte
{
    /// <summary>Count as over every limit: score 1.</summary>
    Closed = 1,

    /// <summary>Count as under every limit: score 0, marked on the verdict.</summary>
    Open = 2,

    /// <summary>Take the score remembered for the candidate's content version; where there is none, one of the other two, as the policy says.</summary>
    LastKnown = 3,
}

/// <summary>What a policy does with a request when every classifier that it reads is down.</summary>
internal enum AllDownMode : byte
{
    /// <summary>Each classifier's own fail mode.</summary>
    Classifiers = 0,

    /// <summary>Block every candidate of which nothing is known.</summary>
    Block = 1,

    /// <summary>Allow every candidate of which nothing is known.</summary>
    Allow = 2,

    /// <summary>No answer, unless something is known of every candidate.</summary>
    Refuse = 3,
}

/// <summary>Whose requests go first, and whose are turned away first, when there is too much to do.</summary>
internal enum SurfacePriority : byte
{
    Low = 0,
    Normal = 1,
    High = 2,
}

/// <summary>How grave a rule's reason is. The values are the wire values.</summary>
internal enum Severity : byte
{
    Low = 1,
    Medium = 2,
    High = 3,
    Critical = 4,
}

/// <summary>What bounded a request's budget. The values are the wire values.</summary>
internal enum BudgetBound : byte
{
    Policy = 1,

    /// <summary>What was left of the call's deadline.</summary>
    Deadline = 2,

    /// <summary>The server's own cap.</summary>
    Server = 3,
}

/// <summary>A circuit breaker's state as records tell it. The values are the wire values.</summary>
internal enum BreakerState : byte
{
    Closed = 1,
    Open = 2,
    HalfOpen = 3,
    Isolated = 4,
}

/// <summary>How far a record had come when the answer left. The values are the wire values.</summary>
internal enum Durability : byte
{
    Memory = 1,
    Process = 2,
    Disk = 3,

    /// <summary>Not recorded: the disk is full or failing and the policy serves on.</summary>
    Lost = 4,
}

/// <summary>Element types of feature tensors; little-endian. The values are the wire values.</summary>
internal enum DataType
{
    Float32 = 1,
    Float16 = 2,
}
