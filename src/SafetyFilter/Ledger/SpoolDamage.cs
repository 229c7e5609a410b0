namespace SafetyFilter.Ledger;

internal enum DamageKind
{
    /// <summary>
    /// Bytes after the last record of the newest segment, no record after them, and no length before them: a write was cut
    /// short and never acknowledged.
    /// </summary>
    TornTail,

    /// <summary>Bytes that are no record, between records; or at the end, where a length says that a record was acknowledged.</summary>
    Frame,

    /// <summary>Bytes that are no record, up to the end of an older segment.</summary>
    SegmentEnd,

    /// <summary>The first 64 bytes of the file. Its records are read all the same.</summary>
    FileHeader,

    /// <summary>The file cannot be opened, or not be read from the offset on. It may be whole: nothing is known of its records.</summary>
    Unreadable,
}

/// <param name="Offset">Where the bytes start in the file.</param>
/// <param name="Length">How many there are, without zeros at the end of the file.</param>
/// <param name="AfterSequence">The last record before them, as far as that is known; 0 for none.</param>
/// <param name="Reason">Of <see cref="DamageKind.Unreadable"/>.</param>
internal readonly record struct SpoolDamage(
    DamageKind Kind, string Path, long Offset, long Length, ulong AfterSequence, string Reason = "");
