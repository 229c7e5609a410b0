using System.Threading.Tasks.Sources;
using SafetyFilter.Decisions;

namespace SafetyFilter.Admission;

/// <summary>How waiting for a place ended.</summary>
/// <param name="Reason">Why there is none.</param>
/// <param name="Entered">The timestamp from which the request holds its place, when it has one.</param>
internal readonly record struct Turn(ShedReason Reason, long Entered);

/// <summary>
/// A fixed number of places, and a short line before them. A request is turned away when it comes if it would not be its turn in
/// time, by how long requests took of late; what waits leaves when its time is up. Thread-safe.
/// </summary>
/// <remarks>
/// In line, the higher priority stands first, and among equals whoever came first. Adaptive LIFO (Maurer, "Fail at Scale", ACM Queue
/// 13(8), 2015) was rejected: it serves the newest because a standing line holds requests that nobody waits for any more. Here the line
/// is cut at its end, by prediction, so that those in it are served in time, and turning away the newest costs it no waiting.
/// </remarks>
internal sealed class AdmissionGate : IDisposable
{
    // A sixteenth of each new time: the mean follows a change of load within a few dozen requests, and one slow page does not move it.
    private const int Smoothing = 16;

    private readonly TimeProvider _time;
    private readonly int _places;
    private readonly ITimer _sweep;
    private readonly Lock _gate = new();

    // Written by every request.
    private int _inFlight;
    private long _serviceTicks;

    // Guarded by _gate. The line by priority, then by arrival; beside it, how many of each priority, which anybody may read.
    private readonly Waiter?[] _line;
    private readonly int[] _waitingOf = new int[(int)SurfacePriority.High + 1];
    private int _waiting;
    private Waiter? _free;
    private long _sweepDue = long.MaxValue;

    public AdmissionGate(int places, int maxWaiting, TimeProvider time)
    {
        (_places, _time) = (places, time);
        _line = new Waiter?[maxWaiting];
        _sweep = time.CreateTimer(static gate => ((AdmissionGate)gate!).Sweep(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    public int Places => _places;

    public int InFlight => Volatile.Read(ref _inFlight);

    public int Waiting => Volatile.Read(ref _waiting);

    /// <summary>How long a place is held of late.</summary>
    public TimeSpan ServiceTime => TimeSpan.FromSeconds((double)Volatile.Read(ref _serviceTicks) / _time.TimestampFrequency);

    /// <summary>Takes a place if one is free and nobody waits: one interlocked operation. To be given back by <see cref="Leave"/>.</summary>
    public bool TryEnter() => Volatile.Read(ref _waiting) == 0 && TryTake();

    /// <summary>What would become of a request that came now, without taking a place. For a look before its body is read.</summary>
    public ShedReason Foresee(SurfacePriority priority, TimeSpan patience) =>
        Volatile.Read(ref _inFlight) < _places ? ShedReason.None : Judge(Ahead(priority), patience);

    /// <summary>Waits for a place. <see cref="ShedReason.None"/>: it has one, to be given back by <see cref="Leave"/>.</summary>
    /// <param name="priority">Higher ones go first, and take the last place in a full line from lower ones.</param>
    /// <param name="patience">How long it may wait.</param>
    /// <param name="gone">That it need not wait any more: it leaves the line at once.</param>
    public ValueTask<Turn> Enter(SurfacePriority priority, TimeSpan patience, CancellationToken gone)
    {
        Waiter? displaced = null;
        Waiter waiter;
        lock (_gate)
        {
            // Announced before a place is tried, as Leave gives back before it looks who waits: one of the two sees the other.
            Interlocked.Increment(ref _waiting);
            if (_waiting == 1 && TryTake())
            {
                Interlocked.Decrement(ref _waiting);
                return ValueTask.FromResult(new Turn(ShedReason.None, _time.GetTimestamp()));
            }

            var reason = Judge(Ahead(priority), patience);
            if (reason != ShedReason.None)
            {
                Interlocked.Decrement(ref _waiting);
                return ValueTask.FromResult(new Turn(reason, 0));
            }

            if (_waiting > _line.Length)
            {
                // Judge has seen that not all of them are ahead: the last one is of a lower priority.
                displaced = RemoveAt_NeedsLock(_line.Length - 1);
            }

            waiter = Take_NeedsLock(priority, _time.GetTimestamp() + ToTicks(patience));
            Insert_NeedsLock(waiter);
            if (waiter.Until < _sweepDue)
            {
                _sweepDue = waiter.Until;
                _sweep.Change(patience, Timeout.InfiniteTimeSpan);
            }
        }

        displaced?.End(new Turn(ShedReason.Displaced, 0));

        // Outside the lock: a caller that has gone already leaves here and now.
        waiter.LeaveWhen(gone);
        return waiter.Task;
    }

    /// <summary>Gives a place back.</summary>
    /// <param name="entered">The timestamp at which it was taken, or given: until its holder runs, nobody else has it either.</param>
    public void Leave(long entered)
    {
        var took = _time.GetTimestamp() - entered;
        var mean = Volatile.Read(ref _serviceTicks);

        // A lost update among many is no matter.
        Volatile.Write(ref _serviceTicks, mean == 0 ? took : mean + ((took - mean) / Smoothing));
        Interlocked.Decrement(ref _inFlight);
        if (Volatile.Read(ref _waiting) > 0)
        {
            CallNext();
        }
    }

    public void Dispose() => _sweep.Dispose();

    private bool TryTake()
    {
        var seen = Volatile.Read(ref _inFlight);
        while (seen < _places)
        {
            var before = Interlocked.CompareExchange(ref _inFlight, seen + 1, seen);
            if (before == seen)
            {
                return true;
            }

            seen = before;
        }

        return false;
    }

    private int Ahead(SurfacePriority priority)
    {
        var ahead = 0;
        for (var other = priority; other <= SurfacePriority.High; other++)
        {
            ahead += Volatile.Read(ref _waitingOf[(int)other]);
        }

        return ahead;
    }

    // Its turn comes when those ahead and one of those at work have ended, and they end Places at a time.
    private ShedReason Judge(int ahead, TimeSpan patience)
    {
        if (ahead >= _line.Length)
        {
            return ShedReason.Full;
        }

        var turn = (ahead + 1) * Volatile.Read(ref _serviceTicks) / _places;
        return patience <= TimeSpan.Zero || turn > ToTicks(patience) ? ShedReason.NoTime : ShedReason.None;
    }

    private void CallNext()
    {
        while (true)
        {
            Waiter next;
            Turn turn;
            lock (_gate)
            {
                var now = _time.GetTimestamp();
                if (_line[0] is not { } first)
                {
                    return;
                }

                var isLate = first.Until <= now;
                if (!isLate && !TryTake())
                {
                    return;
                }

                turn = new Turn(isLate ? ShedReason.WaitedTooLong : ShedReason.None, now);
                next = RemoveAt_NeedsLock(0);
            }

            next.End(turn);
        }
    }

    private void Abandon(Waiter waiter)
    {
        lock (_gate)
        {
            var at = Array.IndexOf(_line, waiter, 0, _waiting);
            if (at < 0)
            {
                // Its wait is over already, and whoever awaits it looks whether there is still somebody to answer.
                return;
            }

            RemoveAt_NeedsLock(at);
        }

        waiter.End(new Turn(ShedReason.CallerGone, 0));
    }

    // Those at the front are seen to whenever a place is given back; this is for when none is for long, and for those behind.
    private void Sweep()
    {
        while (true)
        {
            Waiter? late = null;
            lock (_gate)
            {
                var now = _time.GetTimestamp();
                var soonest = long.MaxValue;
                for (var i = 0; i < _line.Length && _line[i] is { } waiter; i++)
                {
                    if (waiter.Until <= now)
                    {
                        late = RemoveAt_NeedsLock(i);
                        break;
                    }

                    soonest = Math.Min(soonest, waiter.Until);
                }

                if (late is null)
                {
                    _sweepDue = soonest;
                    if (soonest != long.MaxValue)
                    {
                        var wait = TimeSpan.FromSeconds((double)(soonest - now) / _time.TimestampFrequency);
                        _sweep.Change(wait < TimeSpan.FromMilliseconds(1) ? TimeSpan.FromMilliseconds(1) : wait, Timeout.InfiniteTimeSpan);
                    }

                    return;
                }
            }

            late.End(new Turn(ShedReason.WaitedTooLong, 0));
        }
    }

    private void Insert_NeedsLock(Waiter waiter)
    {
        var at = Ahead(waiter.Priority);
        Array.Copy(_line, at, _line, at + 1, _waiting - 1 - at);
        _line[at] = waiter;
        Volatile.Write(ref _waitingOf[(int)waiter.Priority], _waitingOf[(int)waiter.Priority] + 1);
    }

    private Waiter RemoveAt_NeedsLock(int index)
    {
        var waiter = _line[index]!;
        Array.Copy(_line, index + 1, _line, index, _line.Length - index - 1);
        _line[^1] = null;
        Volatile.Write(ref _waitingOf[(int)waiter.Priority], _waitingOf[(int)waiter.Priority] - 1);
        Interlocked.Decrement(ref _waiting);
        return waiter;
    }

    private Waiter Take_NeedsLock(SurfacePriority priority, long until)
    {
        var waiter = _free ?? new Waiter(this);
        _free = waiter.NextFree;
        waiter.NextFree = null;
        (waiter.Priority, waiter.Until) = (priority, until);
        return waiter;
    }

    private void Return(Waiter waiter)
    {
        lock (_gate)
        {
            waiter.NextFree = _free;
            _free = waiter;
        }
    }

    private long ToTicks(TimeSpan time) => (long)(time.TotalSeconds * _time.TimestampFrequency);

    /// <summary>One in line. Used again once its awaiter has heard how it ended.</summary>
    private sealed class Waiter(AdmissionGate gate) : IValueTaskSource<Turn>
    {
        // Never on the thread that gives a place back: it has an answer to write.
        private ManualResetValueTaskSourceCore<Turn> _end = new() { RunContinuationsAsynchronously = true };

        private CancellationTokenRegistration _leaving;

        public SurfacePriority Priority { get; set; }

        public long Until { get; set; }

        public Waiter? NextFree { get; set; }

        public ValueTask<Turn> Task => new(this, _end.Version);

        public void LeaveWhen(CancellationToken gone) =>
            _leaving = gone.UnsafeRegister(static waiter => ((Waiter)waiter!).Abandon(), this);

        public void End(Turn turn) => _end.SetResult(turn);

        public Turn GetResult(short token)
        {
            // Waits for an abandoning that is under way: it must not meet the next one who waits in this object's place.
            _leaving.Dispose();
            var turn = _end.GetResult(token);
            _end.Reset();
            gate.Return(this);
            return turn;
        }

        public ValueTaskSourceStatus GetStatus(short token) => _end.GetStatus(token);

        public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
            _end.OnCompleted(continuation, state, token, flags);

        private void Abandon() => gate.Abandon(this);
    }
}
