namespace SafetyFilter.Admission;

/// <summary>
/// How long what runs now has at least waited in the thread pool's queue. Under overload that is where requests are, and nothing tells of
/// it: a call's deadline and every clock begin when its handler does. Thread-safe.
/// </summary>
/// <remarks>
/// The pool's global queue is first in, first out, and requests go through it. So a mark that was put in it and has not come out yet is
/// behind whatever runs now: that has waited since before the mark was put in. Marks are put in while something waits, and never when idle.
/// </remarks>
/// <param name="time">The clock.</param>
/// <param name="pending">How much waits in the pool.</param>
/// <param name="queue">Puts a mark in the pool's global queue.</param>
internal sealed class PoolDelay(TimeProvider time, Func<long> pending, Action<IThreadPoolWorkItem> queue) : IThreadPoolWorkItem
{
    // How finely delays are told, and how many marks are under way at most: together they cover 16 ms at full resolution.
    private static readonly TimeSpan Spacing = TimeSpan.FromMicroseconds(250);
    private const int MostMarks = 64;

    private readonly long _spacing = (long)(Spacing.TotalSeconds * time.TimestampFrequency);

    // When mark number i was put in, at i % MostMarks. Written by who holds _marking.
    private readonly long[] _putIn = new long[MostMarks];
    private long _marks;
    private int _marking;

    // Written by the pool.
    private long _through;

    public static PoolDelay OfThisProcess(TimeProvider time) => new(
        time, static () => ThreadPool.PendingWorkItemCount, static mark => ThreadPool.UnsafeQueueUserWorkItem(mark, preferLocal: false));

    /// <summary>To be asked at the beginning of a pool thread's work on a request. 0 when nothing waits.</summary>
    public TimeSpan Waited()
    {
        var through = Volatile.Read(ref _through);
        var marks = Volatile.Read(ref _marks);
        var isClear = through >= marks;
        if (isClear && pending() == 0)
        {
            return TimeSpan.Zero;
        }

        var now = time.GetTimestamp();
        if ((isClear || now - _putIn[(marks - 1) % MostMarks] >= _spacing) && marks - through < MostMarks)
        {
            Mark(now);
        }

        return isClear ? TimeSpan.Zero : TimeSpan.FromSeconds((double)Math.Max(0, now - Volatile.Read(ref _putIn[through % MostMarks])) / time.TimestampFrequency);
    }

    /// <summary>A mark is through.</summary>
    public void Execute() => Interlocked.Increment(ref _through);

    private void Mark(long now)
    {
        if (Interlocked.CompareExchange(ref _marking, 1, 0) != 0)
        {
            return;
        }

        Volatile.Write(ref _putIn[_marks % MostMarks], now);
        Volatile.Write(ref _marks, _marks + 1);
        queue(this);
        Volatile.Write(ref _marking, 0);
    }
}
