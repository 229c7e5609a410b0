namespace SafetyFilter.Admission;

/// <summary>Why a request got no place.</summary>
internal enum ShedReason : byte
{
    /// <summary>It has one.</summary>
    None = 0,

    /// <summary>Too many wait already, or are inside.</summary>
    Full = 1,

    /// <summary>It would not be its turn in time: told when it came.</summary>
    NoTime = 2,

    /// <summary>It waited, and its time ran out.</summary>
    WaitedTooLong = 3,

    /// <summary>It had a place in the line, which one of a higher priority took.</summary>
    Displaced = 4,

    /// <summary>Its caller went while it waited. Nobody was turned away.</summary>
    CallerGone = 5,
}
