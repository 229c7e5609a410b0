namespace SafetyFilter.Decisions;

/// <summary>Why a request gets no decision. The edge maps each to a status of its protocol.</summary>
internal enum RefusalKind : byte
{
    /// <summary>The caller's mistake, whatever the state of the server.</summary>
    InvalidArgument = 1,

    /// <summary>No loaded policy serves the surface.</summary>
    UnknownSurface = 2,

    /// <summary>The policy does not serve the purpose.</summary>
    PurposeNotAllowed = 3,

    /// <summary>The message is larger than the limit.</summary>
    TooLarge = 4,

    /// <summary>Starting or draining: ask again or elsewhere.</summary>
    Unavailable = 5,

    /// <summary>The ledger cannot take the record, and an unrecorded decision is not given.</summary>
    LedgerUnavailable = 6,

    /// <summary>Our own mistake.</summary>
    Internal = 7,

    /// <summary>No classifier of the surface works, and its policy gives no answer then.</summary>
    ClassifiersDown = 8,

    /// <summary>More was asked than can be answered in time.</summary>
    Overloaded = 9,

    /// <summary>The caller went before its turn came: there is nobody to decide for.</summary>
    CallerGone = 10,
}

/// <summary>A refusal in words for the caller: names the field, the value and the remedy.</summary>
internal sealed record Refusal(RefusalKind Kind, string Message)
{
    /// <summary>Of a request that there was no place for.</summary>
    public static Refusal Overloaded { get; } = new(
        RefusalKind.Overloaded, "The safety filter is busier than it can answer in time. Apply the ranker's own fail mode and do not retry.");

    /// <summary>Of a request whose caller has gone. Hardly ever read.</summary>
    public static Refusal CallerGone { get; } = new(RefusalKind.CallerGone, "The caller cancelled the request or went away before its turn came.");
}
