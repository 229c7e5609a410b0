using Grpc.Core;
using SafetyFilter.V1;

namespace SafetyFilter.Client;

/// <summary>The answer to one query of a stream: a result, or why it was refused.</summary>
public readonly struct StreamReply
{
    private readonly FilterStreamResponse _message;

    internal StreamReply(FilterStreamResponse message)
    {
        _message = message;
        Result = message.Response is { } response ? new FilterResult(response) : null;
    }

    /// <summary>The verdicts; null when the query was refused.</summary>
    public FilterResult? Result { get; }

    /// <summary>The query's id, as far as the sidecar could read it.</summary>
    public string RequestId => Result?.RequestId ?? _message.Error?.RequestId ?? "";

    /// <summary><c>OK</c>, or the code and the message that a unary call would have failed with.</summary>
    public Status Status => Result is not null
        ? Status.DefaultSuccess
        : new Status((StatusCode)(_message.Error?.Code ?? (int)StatusCode.Internal), _message.Error?.Message ?? "The sidecar answered with neither a result nor an error.");
}
