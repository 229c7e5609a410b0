using SafetyFilter.Ledger.Verify;

namespace SafetyFilter.Ledger;

/// <summary>What was read of one stream, and how far it is proven.</summary>
internal readonly record struct StreamSummary(Guid StreamId, ulong FirstSequence, ulong LastSequence, uint FirstEpoch, uint LastEpoch)
{
    /// <summary>The newest sequence whose leaf, with all before it, a signature by a trusted identity's epoch key covers.</summary>
    public ulong SignedThrough { get; init; }

    /// <summary>The newest records, which no signature covers (yet).</summary>
    public ulong Uncovered { get; init; }

    /// <summary>Records beside missing ones that no signed hash covers.</summary>
    public ulong Unproven { get; init; }

    public long Checkpoints { get; init; }

    public ulong AdmittedGaps { get; init; }

    /// <summary>The identity's verifier key; null when no epoch read here was certified.</summary>
    public string? Identity { get; init; }

    public bool EndedCleanly { get; init; }

    public static StreamSummary Of(StreamAudit stream) =>
        new(stream.Order.Id, stream.Order.First, stream.Order.Last, stream.Epochs.FirstEpoch, stream.Epochs.Epoch)
        {
            SignedThrough = stream.Tree.SignedThrough,
            Uncovered = stream.Uncovered,
            Unproven = stream.Tree.Unproven,
            Checkpoints = stream.Tree.Checkpoints,
            AdmittedGaps = stream.AdmittedGaps,
            Identity = stream.Epochs.Identity?.Text,
            EndedCleanly = stream.Epochs.HasEnded,
        };
}
