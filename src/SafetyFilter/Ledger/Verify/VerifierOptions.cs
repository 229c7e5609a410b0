using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Ledger.Verify;

/// <summary>What an auditor brings along. Without any of it a ledger is held against itself only.</summary>
internal sealed record VerifierOptions
{
    /// <summary>The identities that may certify epoch keys. Empty: the first one seen in a stream is trusted, and named in a note.</summary>
    public IReadOnlyList<NoteVerifier> Identities { get; init; } = [];

    /// <summary>Answers that rankers kept.</summary>
    public ReceiptBook? Receipts { get; init; }

    /// <summary>Checkpoints that a witness or anybody else kept.</summary>
    public KnownCheckpoints? Checkpoints { get; init; }

    /// <summary>Makes findings of what is admitted, unsigned or not provable.</summary>
    public bool Strict { get; init; }

    /// <summary>Reading stops before the end of the ledger: what lies behind is not missing.</summary>
    public bool EndIsCut { get; init; }

    /// <summary>Other streams than those read exist elsewhere, e.g. in the partitions of other workers.</summary>
    public bool OtherStreamsExist { get; init; }

    /// <summary>The record to prove the inclusion of.</summary>
    public (Guid StreamId, ulong Sequence)? Wanted { get; init; }

    public TimeProvider Time { get; init; } = TimeProvider.System;

    public int MaxFindings { get; init; } = 1000;

    /// <summary>How many leaf hashes of a stream are kept to recognise repeats.</summary>
    public int RepeatWindow { get; init; } = 1 << 18;
}
