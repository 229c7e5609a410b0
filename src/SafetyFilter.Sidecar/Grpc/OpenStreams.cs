namespace SafetyFilter.Sidecar.Grpc;

/// <summary>
/// The streams that callers hold open. A stop ends them first and waits for that: a server that closes a connection in the
/// same moment as its last stream ends may cut off that stream's status, and the caller would take a stop for a fault.
/// </summary>
internal sealed class OpenStreams
{
    private readonly Lock _gate = new();
    private int _open;
    private TaskCompletionSource? _none;

    /// <summary>Counts a stream until its response is complete.</summary>
    public void Add(HttpContext http)
    {
        lock (_gate)
        {
            _open++;
        }

        http.Response.OnCompleted(
            static streams =>
            {
                ((OpenStreams)streams).Remove();
                return Task.CompletedTask;
            },
            this);
    }

    /// <summary>Ends when no stream is open.</summary>
    public Task WhenNone()
    {
        lock (_gate)
        {
            return _open == 0 ? Task.CompletedTask : (_none ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }

    private void Remove()
    {
        lock (_gate)
        {
            if (--_open == 0)
            {
                _none?.SetResult();
                _none = null;
            }
        }
    }
}
