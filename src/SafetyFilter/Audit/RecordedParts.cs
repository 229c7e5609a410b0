using SafetyFilter.Decisions;

namespace SafetyFilter.Audit;

/// <summary>A bundle as a record names it. Slices point into the record.</summary>
internal struct RecordedBundle
{
    public ByteSlice Name;
    public ByteSlice Version;

    /// <summary>32 bytes.</summary>
    public ByteSlice ModelSha256;

    /// <summary><see cref="FailureKind.None"/> when it ran.</summary>
    public FailureKind Failure;

    public uint Micros;
    public BreakerState Breaker;

    /// <summary>A bit per candidate whose scores are remembered from an earlier run; empty when none is.</summary>
    public ByteSlice Remembered;

    /// <summary>In how many parts it ran; 0 when in one. At most as many as candidates that it ran over.</summary>
    public uint Parts;
}

internal struct RecordedClassifier
{
    public ByteSlice Name;

    /// <summary>Index into the record's bundles.</summary>
    public int Bundle;

    public FailMode FailMode;
}

/// <summary>A rule that decided something, as the record tells it. Entry 0 is the default.</summary>
internal struct RecordedRule
{
    public ByteSlice Id;
    public CandidateAction Action;
    public ByteSlice ReasonCode;
    public Severity Severity;
    public float DemoteFactor;
    public ByteSlice Label;
    public int MinimumAge;
}

/// <summary>Candidates for which a classifier gave no score, and what stood in for it.</summary>
internal struct RecordedDegradation
{
    public int Classifier;
    public FailureKind Failure;
    public FailMode FailMode;

    /// <summary>Where its candidates are in <see cref="RecordedDecision.Indexes"/>. None means all candidates.</summary>
    public ByteSlice Candidates;
}

/// <summary>What a shadow rule would have done.</summary>
internal struct RecordedShadow
{
    public ByteSlice RuleId;
    public CandidateAction Action;

    /// <summary>Where its candidates are in <see cref="RecordedDecision.Indexes"/>.</summary>
    public ByteSlice Candidates;
}

/// <summary>What was encrypted for the request's subject. All empty when nothing was.</summary>
internal struct RecordedSeal
{
    public ByteSlice KeyId;
    public ByteSlice Nonce;
    public ByteSlice Ciphertext;
}

/// <summary>
/// Decrypts what a record has sealed: a serialised DecisionRecord of only the sealed fields, or null without the key (which may
/// have been destroyed) or when the bytes are not what was sealed.
/// </summary>
internal delegate byte[]? SealOpener(ReadOnlySpan<byte> keyId, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> ciphertext, ReadOnlySpan<byte> associatedData);
