using Google.Protobuf.Collections;
using Grpc.Core;
using SafetyFilter.V1;

namespace SafetyFilter.Client;

/// <summary>What a client does when the sidecar gave no decision.</summary>
public enum LocalFailMode
{
    /// <summary>Every candidate is blocked, marked <see cref="VerdictBasis.FailedClosed"/>.</summary>
    Closed = 1,

    /// <summary>Every candidate is allowed, marked <see cref="VerdictBasis.FailedOpen"/>.</summary>
    Open = 2,

    /// <summary>No answer: the call throws <see cref="RpcException"/>.</summary>
    Throw = 3,
}

/// <summary>Why an answer was made by the client and not by the sidecar.</summary>
public enum LocalReason
{
    /// <summary>It was not: the sidecar decided.</summary>
    None = 0,

    /// <summary>Nobody listens, or the connection broke.</summary>
    Unreachable = 1,

    /// <summary>No answer within the deadline: hung, too slow, or far too much to do.</summary>
    DeadlineExceeded = 2,

    /// <summary>Refused: the sidecar is overloaded, or the message is over a size limit.</summary>
    Overloaded = 3,

    /// <summary>Refused: the sidecar is starting, draining or cannot record decisions.</summary>
    NotServing = 4,

    /// <summary>The sidecar failed or spoke nonsense.</summary>
    Failed = 5,
}

/// <summary>Makes the answers of a client whose sidecar gave none. They have no policy, no scores and no receipt: nothing was recorded.</summary>
internal static class LocalAnswer
{
    /// <summary>The one rule of such an answer. No policy's rule has it, as its ids have no dots.</summary>
    public const string Rule = "client.fail-mode";

    /// <summary>None when the status is the request's own fault, so that no fail mode may hide it.</summary>
    public static LocalReason ReasonOf(Status status) => status.StatusCode switch
    {
        StatusCode.Unavailable => IsConnectionFailure(status) ? LocalReason.Unreachable : LocalReason.NotServing,
        StatusCode.DeadlineExceeded => LocalReason.DeadlineExceeded,
        StatusCode.ResourceExhausted => LocalReason.Overloaded,
        StatusCode.Internal or StatusCode.Unknown or StatusCode.DataLoss or StatusCode.Aborted or StatusCode.Cancelled => LocalReason.Failed,
        _ => LocalReason.None,
    };

    /// <summary>A status that the peer sent has no exception beside it.</summary>
    public static bool IsConnectionFailure(Status status) => status is { StatusCode: StatusCode.Unavailable, DebugException: not null };

    public static FilterResult Make(FilterRequest request, LocalFailMode mode, Status status)
    {
        var (action, basis) = mode == LocalFailMode.Open ? (V1.Action.Allow, Basis.FailedOpen) : (V1.Action.Block, Basis.FailedClosed);
        var count = request.CandidateIds.Count;
        var message = new FilterResponse { RequestId = request.RequestId };
        message.Rules.Add(new DecidingRule { Id = Rule, Action = action, ReasonCode = "SIDECAR_" + WordOf(ReasonOf(status)).ToUpperInvariant() });
        Fill(message.Actions, count, action);
        Fill(message.RuleIndexes, count, 0u);
        Fill(message.Bases, count, basis);
        return new FilterResult(message, status);
    }

    /// <summary>The reason as metrics and reason codes say it.</summary>
    public static string WordOf(LocalReason reason) => reason switch
    {
        LocalReason.Unreachable => "unreachable",
        LocalReason.DeadlineExceeded => "deadline_exceeded",
        LocalReason.Overloaded => "overloaded",
        LocalReason.NotServing => "not_serving",
        LocalReason.Failed => "failed",
        _ => "none",
    };

    private static void Fill<T>(RepeatedField<T> column, int count, T value)
    {
        column.Capacity = count;
        for (var i = 0; i < count; i++)
        {
            column.Add(value);
        }
    }
}
