using SafetyFilter.Cli.Demo;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>Sends requests that are bytes already over one connection, as a ranker does, and reads of the answers what is measured. Thread-safe.</summary>
internal sealed class FilterCaller : IDisposable
{
    private const string Service = "/safetyfilter.v1.SafetyFilter/";

    // Rankers set one. It also bounds what piles up before a server that does not keep up.
    private const string Deadline = "1S";

    private readonly Http2Connection _connection;
    private readonly Workload _workload;
    private readonly bool _decides;

    /// <param name="decides">Whether its answers are verdicts, which are then checked.</param>
    public FilterCaller(string unixSocket, Workload workload, bool decides)
    {
        // A deadline is a call's, and a stream is one call.
        _connection = workload.Streams
            ? new Http2Connection(unixSocket, Service + "FilterStream", timeout: null, streamed: true)
            : new Http2Connection(unixSocket, Service + "Filter", Deadline, streamed: false);
        _workload = workload;
        _decides = decides;
    }

    /// <summary>See <see cref="Http2Connection.Send"/>.</summary>
    public bool Send(byte[] request, Answered answered) => _connection.Send(request, answered);

    /// <summary>Sends a request and waits for its answer.</summary>
    /// <exception cref="SidecarFailedException">There is none.</exception>
    public Task<FilterReply> AskAsync(byte[] request)
    {
        var answer = new TaskCompletionSource<FilterReply>(TaskCreationOptions.RunContinuationsAsynchronously);
        var isSent = Send(request, (reply, status) =>
        {
            if (reply is null)
            {
                answer.SetException(new SidecarFailedException($"A server refuses the requests of {_workload.Name}: {status}."));
            }
            else
            {
                answer.SetResult(reply);
            }
        });
        return isSent ? answer.Task : throw new SidecarFailedException("A server closed its connection.");
    }

    /// <summary>Whether an answer is not the one that the workload is about: a verdict per candidate, each evaluated.</summary>
    public bool IsDegraded(FilterReply reply) => _decides && !(reply.IsEvaluated && reply.Verdicts == _workload.Candidates);

    public void Dispose() => _connection.Dispose();
}
