namespace SafetyFilter.Sidecar.Grpc;

/// <summary>Keeps finished calls for the next requests. A call that is lost (a client that went away) is merely garbage.</summary>
internal sealed class FilterCallPool(int capacity)
{
    private readonly FilterCall?[] _free = new FilterCall?[capacity];

    public FilterCall Take()
    {
        for (var i = 0; i < _free.Length; i++)
        {
            if (_free[i] is { } call && Interlocked.CompareExchange(ref _free[i], null, call) == call)
            {
                return call;
            }
        }

        return new FilterCall();
    }

    public void Return(FilterCall call)
    {
        for (var i = 0; i < _free.Length; i++)
        {
            if (_free[i] is null && Interlocked.CompareExchange(ref _free[i], call, null) is null)
            {
                return;
            }
        }
    }
}
