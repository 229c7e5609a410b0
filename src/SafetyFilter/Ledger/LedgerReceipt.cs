using SafetyFilter.Decisions;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Ledger;

/// <summary>The message a record holds. The values stand in segment files.</summary>
internal enum RecordType : byte
{
    Decision = 1,
    EpochStart = 2,
    EpochEnd = 3,
    Checkpoint = 4,
    Gap = 5,
    Loss = 6,
    Withdrawal = 7,
    Activation = 8,
    BreakerChange = 9,
    Change = 10,
    Shed = 11,
    SecurityEvent = 12,
}

/// <summary>What became of an append. Only <see cref="Appended"/> leaves a record behind.</summary>
internal enum AppendResult : byte
{
    Appended = 0,

    /// <summary>The record is longer than <see cref="SpoolOptions.MaxRecordBytes"/>.</summary>
    TooLarge = 1,

    /// <summary>There is no room for it: the disk is full or failing, and so is the memory that stands in for it.</summary>
    Unavailable = 2,

    /// <summary>The spool was closed.</summary>
    Closed = 3,

    /// <summary>A segment did not come in time, and the surface's policy refuses then.</summary>
    Late = 4,

    /// <summary>No room, and the surface's policy has the decision given all the same: it was counted as lost.</summary>
    Lost = 5,
}

/// <summary>Where a record stands in the ledger. The stream is the spool's.</summary>
internal struct LedgerReceipt
{
    public uint Epoch;
    public ulong Sequence;
    public TreeHash LeafHash;
    public Durability Durability;

    /// <summary>The surface's policy asks for more than <see cref="Durability"/>, and it did not come in time.</summary>
    public bool Pending;
}

/// <summary>A file of the ledger cannot be used. The message names the file, what is wrong and the remedy.</summary>
internal sealed class LedgerException(string message, Exception? inner = null) : Exception(message, inner);
