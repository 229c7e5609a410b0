using BitFaster.Caching;
using BitFaster.Caching.Scheduler;

namespace SafetyFilter.Filtering;

/// <summary>
/// When the cache counts who was read and decides who stays: at most once in <see cref="Pause"/>, on a thread of the pool.
/// </summary>
/// <remarks>
/// Requests leave what they read in buffers of 128 per core, and what finds no room there is not counted. BitFaster's own schedulers
/// empty a buffer as soon as it is full, which with pages of hundreds is for every request: on its own thread that costs more than the
/// look-ups themselves, elsewhere it wakes a thread each time. A sample of the reads finds as much (measured: benchmarks/results/cache.md).
/// Writes are all counted: when 128 of them wait, the request that comes next does the upkeep itself, so that the cache stays within its
/// capacity and these.
/// </remarks>
internal sealed class CacheUpkeep : IScheduler, IDisposable
{
    /// <summary>10 ms: of a thousand requests a second, one in ten is counted.</summary>
    public static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);

    private readonly ITimer _timer;
    private Action? _upkeep;
    private long _runs;

    public CacheUpkeep(TimeProvider time)
    {
        _timer = time.CreateTimer(static self => ((CacheUpkeep)self!).Tick(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>False, or a run would go on for as long as requests read.</summary>
    public bool IsBackground => false;

    public long RunCount => Volatile.Read(ref _runs);

    public Optional<Exception> LastException => Optional<Exception>.None();

    public void Run(Action action)
    {
        Volatile.Write(ref _upkeep, action);
        _timer.Change(Pause, Timeout.InfiniteTimeSpan);
    }

    public void Dispose() => _timer.Dispose();

    private void Tick()
    {
        Interlocked.Increment(ref _runs);
        Volatile.Read(ref _upkeep)!();
    }
}
