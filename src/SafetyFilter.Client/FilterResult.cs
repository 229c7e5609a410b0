using System.Collections;
using System.Diagnostics.CodeAnalysis;
using Grpc.Core;
using SafetyFilter.V1;

namespace SafetyFilter.Client;

/// <summary>One decided page, as rows: verdict <c>i</c> is about the candidate that was added as row <c>i</c>.</summary>
/// <remarks>Immutable and thread-safe; a view over the answer, so that reading it allocates nothing.</remarks>
public sealed class FilterResult : IReadOnlyList<Verdict>
{
    internal FilterResult(FilterResponse message, Status localStatus = default)
    {
        Message = message;
        LocalStatus = localStatus;
    }

    internal FilterResponse Message { get; }

    /// <summary>The request's id as it was sent.</summary>
    public string RequestId => Message.RequestId;

    /// <summary>Number of candidates.</summary>
    public int Count => Message.Actions.Count;

    /// <summary>
    /// Whether the client made this answer by its own fail mode because the sidecar gave none. Every verdict then has the same
    /// action and the basis failed open or closed, and there is neither policy, score nor receipt.
    /// </summary>
    public bool IsLocal => LocalReason != LocalReason.None;

    /// <summary>Why the client made this answer; <see cref="LocalReason.None"/> when the sidecar decided.</summary>
    public LocalReason LocalReason => LocalAnswer.ReasonOf(LocalStatus);

    /// <summary>The status that the call ended with when <see cref="IsLocal"/>; otherwise <c>OK</c>.</summary>
    public Status LocalStatus { get; }

    /// <summary>The policy that decided; empty when <see cref="IsLocal"/>.</summary>
    public string Policy => Message.Policy;

    /// <summary>SHA-256 of the policy's canonical form, lower-case hexadecimal.</summary>
    public string PolicyRevision => Message.PolicyRevision;

    /// <summary>Where the decision stands in the ledger. Log it beside the ranking: it proves later that nothing was rewritten.</summary>
    public LedgerReceipt Receipt => new(Message.Receipt ?? NoReceipt);

    /// <summary>Time from the decoded request to the appended record.</summary>
    public TimeSpan EngineTime => TimeSpan.FromMicroseconds(Message.EngineMicros);

    /// <summary>The budget that applied.</summary>
    public TimeSpan Budget => TimeSpan.FromMicroseconds(Message.BudgetMicros);

    /// <summary>Whether any classifier gave no score for any candidate.</summary>
    public bool IsDegraded => Message.Degradations.Count > 0;

    /// <summary>Number of classifiers that the surface's policy reads; they are referred to by index, in the policy's order.</summary>
    public int ClassifierCount => Message.Classifiers.Count;

    /// <summary>Number of <see cref="Degradation"/> marks.</summary>
    public int DegradationCount => Message.Degradations.Count;

    /// <summary>The verdict for the candidate of that row.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such row.</exception>
    public Verdict this[int index]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(index);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Count);
            return new Verdict(Message, index);
        }
    }

    /// <summary>How a classifier did on this request.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such classifier.</exception>
    public ClassifierSummary Classifier(int index) => new(Message.Classifiers[index]);

    /// <summary>One mark: a classifier, why it gave no score, and for whom.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such mark.</exception>
    public DegradationMark Degradation(int index) => new(Message, Message.Degradations[index]);

    /// <summary>Enumerates the verdicts without allocating.</summary>
    public Enumerator GetEnumerator() => new(this);

    IEnumerator<Verdict> IEnumerable<Verdict>.GetEnumerator() => GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private static readonly Receipt NoReceipt = new();

    /// <summary>Walks the rows.</summary>
    [SuppressMessage("Design", "CA1034", Justification = "The pattern that foreach wants of a struct enumerator.")]
    public struct Enumerator : IEnumerator<Verdict>
    {
        private readonly FilterResult _result;
        private int _index = -1;

        internal Enumerator(FilterResult result) => _result = result;

        /// <summary>The verdict of the current row.</summary>
        public readonly Verdict Current => new(_result.Message, _index);

        readonly object IEnumerator.Current => Current;

        /// <summary>Goes to the next row.</summary>
        public bool MoveNext() => ++_index < _result.Count;

        /// <summary>Goes back before the first row.</summary>
        public void Reset() => _index = -1;

        /// <summary>Does nothing.</summary>
        public readonly void Dispose()
        {
        }
    }
}

/// <summary>What was decided for one candidate. A view; cheap to copy.</summary>
public readonly struct Verdict
{
    private readonly FilterResponse _message;
    private readonly int _row;

    internal Verdict(FilterResponse message, int row)
    {
        _message = message;
        _row = row;
    }

    /// <summary>The candidate's row.</summary>
    public int Row => _row;

    /// <summary>What to do with it.</summary>
    public FilterAction Action => (FilterAction)_message.Actions[_row];

    /// <summary>What the verdict rests on.</summary>
    public VerdictBasis Basis => (VerdictBasis)_message.Bases[_row];

    /// <summary>The rule that decided; <c>default</c> when none matched.</summary>
    public string RuleId => Rule.Id;

    /// <summary>The reason code the policy gives, e.g. <c>HATE</c>; empty when no rule matched.</summary>
    public string ReasonCode => Rule.ReasonCode;

    /// <summary>How grave the reason is.</summary>
    public Severity Severity => (Severity)Rule.Severity;

    /// <summary>The factor in (0, 1) when <see cref="Action"/> is <see cref="FilterAction.Demote"/>; otherwise 1, so that it can always be multiplied.</summary>
    public float DemoteFactor => Action == FilterAction.Demote ? Rule.DemoteFactor : 1f;

    /// <summary>The label when <see cref="Action"/> is <see cref="FilterAction.Label"/>; otherwise empty.</summary>
    public string Label => Rule.Label;

    /// <summary>Years, when <see cref="Action"/> is <see cref="FilterAction.AgeRestrict"/>; otherwise 0.</summary>
    public int MinimumAge => (int)Rule.MinimumAge;

    /// <summary>The score of a classifier, a risk in 0..1; NaN when it gave none or scores were not asked for.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such classifier.</exception>
    public float Score(int classifier)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(classifier);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(classifier, _message.Classifiers.Count);
        return _message.Scores.Count == 0 ? float.NaN : _message.Scores[classifier * _message.Actions.Count + _row];
    }

    private DecidingRule Rule => _message.Rules[(int)_message.RuleIndexes[_row]];
}

/// <summary>How one classifier did on one request. A view.</summary>
public readonly struct ClassifierSummary
{
    private readonly ClassifierReport _report;

    internal ClassifierSummary(ClassifierReport report) => _report = report;

    /// <summary><c>bundle/label</c>.</summary>
    public string Name => _report.Name;

    /// <summary>The version of the bundle.</summary>
    public string Version => _report.Version;

    /// <summary>Why it gave no score for the whole request; <see cref="FailureKind.None"/> when it ran.</summary>
    public FailureKind Failure => (FailureKind)_report.Failure;

    /// <summary>The fail mode that the policy gives it.</summary>
    public FailMode FailMode => (FailMode)_report.FailMode;

    /// <summary>The time its bundle took; zero when it did not run. The same for all classifiers of a bundle, which run together.</summary>
    public TimeSpan Duration => TimeSpan.FromMicroseconds(_report.Micros);

    /// <summary>
    /// Candidates whose score its bundle gave in an earlier run over the same version and input, where the policy has
    /// <c>verdict_cache: on</c>. They count as evaluated.
    /// </summary>
    public int Remembered => (int)_report.Remembered;
}

/// <summary>One classifier without a score for some candidates or all. A view.</summary>
public readonly struct DegradationMark
{
    private readonly FilterResponse _message;
    private readonly V1.Degradation _mark;

    internal DegradationMark(FilterResponse message, V1.Degradation mark)
    {
        _message = message;
        _mark = mark;
    }

    /// <summary>The classifier, <c>bundle/label</c>.</summary>
    public string Classifier => _message.Classifiers[(int)_mark.ClassifierIndex].Name;

    /// <summary>Why there is no score.</summary>
    public FailureKind Failure => (FailureKind)_mark.Failure;

    /// <summary>What the policy did about it.</summary>
    public FailMode FailMode => (FailMode)_mark.FailMode;

    /// <summary>Whether it concerns the candidate of that row.</summary>
    public bool Concerns(int row) => _mark.CandidateIndexes.Count == 0 || _mark.CandidateIndexes.Contains((uint)row);
}

/// <summary>Where a decision stands in the ledger. A view.</summary>
public readonly struct LedgerReceipt
{
    private readonly Receipt _receipt;

    internal LedgerReceipt(Receipt receipt) => _receipt = receipt;

    /// <summary>The ledger stream, a UUIDv7; empty when the sidecar keeps no ledger.</summary>
    public Guid StreamId => _receipt.StreamId.Length == 16 ? new Guid(_receipt.StreamId.Span, bigEndian: true) : Guid.Empty;

    /// <summary>The run of the sidecar within the stream, counted from 1.</summary>
    public uint Epoch => _receipt.Epoch;

    /// <summary>The record's place in the stream, contiguous across epochs; 0 when there is no record (<see cref="IsLost"/>).</summary>
    public ulong Sequence => _receipt.Sequence;

    /// <summary>SHA-256(0x00 || record): 32 bytes; empty when there is no record (<see cref="IsLost"/>).</summary>
    public ReadOnlyMemory<byte> LeafHash => _receipt.LeafHash.Memory;

    /// <summary>How far the record had come when the answer left.</summary>
    public Durability Durability => (Durability)_receipt.Durability;

    /// <summary>
    /// The surface's policy asks for more than <see cref="Durability"/>, and the answer did not wait longer for it. The record
    /// is on its way.
    /// </summary>
    public bool Pending => _receipt.Pending;

    /// <summary>
    /// The decision was given without a record: the ledger had no room, and the surface's policy serves on. The ledger counts it.
    /// </summary>
    public bool IsLost => Durability == Durability.Lost;

    /// <summary>For logs: <c>stream/epoch/sequence leaf-hash</c>, or <c>stream/epoch/lost</c>.</summary>
    public override string ToString() =>
        IsLost ? $"{StreamId}/{Epoch}/lost" : $"{StreamId}/{Epoch}/{Sequence} {Convert.ToHexStringLower(LeafHash.Span)}";
}
