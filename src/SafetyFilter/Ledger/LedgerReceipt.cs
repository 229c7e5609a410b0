using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using SafetyFilter.Decisions;

namespace SafetyFilter.Ledger;

/// <summary>The message a record holds. The values stand in segment files.</summary>
internal enum RecordType : byte
{
    Decision = 1,
    EpochStart = 2,
    EpochEnd = 3,
}

/// <summary>What became of an append. Only <see cref="Appended"/> leaves a record behind.</summary>
internal enum AppendResult : byte
{
    Appended = 0,

    /// <summary>The record is longer than <see cref="SpoolOptions.MaxRecordBytes"/>.</summary>
    TooLarge = 1,

    /// <summary>The segment is full and there is no next one: the disk is full, failing or slow.</summary>
    Unavailable = 2,

    /// <summary>The spool was closed.</summary>
    Closed = 3,
}

/// <summary>SHA-256(0x00 || record bytes): the record's leaf in the stream's RFC 6962 tree.</summary>
[InlineArray(Length)]
internal struct LeafHash
{
    public const int Length = 32;

    private byte _first;

    public static LeafHash Of(IncrementalHash sha256, ReadOnlySpan<byte> record)
    {
        var leaf = default(LeafHash);
        sha256.AppendData([0]);
        sha256.AppendData(record);
        sha256.GetHashAndReset(leaf);
        return leaf;
    }
}

/// <summary>Where a record stands in the ledger. The stream is the spool's.</summary>
internal struct LedgerReceipt
{
    public uint Epoch;
    public ulong Sequence;
    public LeafHash LeafHash;
    public Durability Durability;
}

/// <summary>A file of the ledger cannot be used. The message names the file, what is wrong and the remedy.</summary>
internal sealed class LedgerException(string message, Exception? inner = null) : Exception(message, inner);
