namespace SafetyFilter.Ledger;

internal enum FindingKind
{
    /// <summary>Sequences that are not there, and that no signed record admits to be lost.</summary>
    Gap,

    /// <summary>Two different records with the same stream, epoch and sequence.</summary>
    Conflict,

    /// <summary>A sequence that two epochs gave: a run did not know all that the one before it had done.</summary>
    Renumbered,

    /// <summary>A record that came after a later one.</summary>
    OutOfOrder,

    /// <summary>Epochs that do not follow each other as their first and last records say.</summary>
    EpochChain,

    /// <summary>A frame or header that says something else than its record.</summary>
    Mismatch,

    /// <summary>Bytes under a valid checksum that are no record of lineage.proto.</summary>
    Malformed,

    /// <summary>Bytes in a segment that are no record, or that cannot be read.</summary>
    Damage,

    /// <summary>Bytes after the last record. The sidecar's next start cuts them off and says so in its EpochStart.</summary>
    TornTail,

    /// <summary>A checkpoint that contradicts itself: its note, its frontier and its fields do not say the same.</summary>
    Checkpoint,

    /// <summary>A signature or certificate that is missing or not by the key that should have made it.</summary>
    Signature,

    /// <summary>Records that are not those whose tree was signed.</summary>
    Tree,

    /// <summary>A checkpoint that does not extend the one before it: the writer signed two histories.</summary>
    Fork,

    /// <summary>Another identity than the pinned one, or than the one before it in the same stream.</summary>
    Identity,

    /// <summary>Two runs with the same stream and epoch: a copy of the volume was started.</summary>
    ClonedVolume,

    /// <summary>A count of losses or a withdrawal that cannot be true.</summary>
    Loss,

    /// <summary>A receipt whose record is not there, or is another.</summary>
    Receipt,

    /// <summary>A checkpoint known from elsewhere that is not one of this ledger: cut off, rewritten, or shown differently to others.</summary>
    SplitView,

    /// <summary>What is admitted or not proven, where the auditor asked to be strict.</summary>
    Strict,
}

/// <param name="Source">The segment file, or topic and partition.</param>
/// <param name="Position">The byte offset in the file, or the message's offset in the partition.</param>
internal readonly record struct LedgerFinding(FindingKind Kind, string Source, long Position, Guid StreamId, ulong Sequence, string Text);
