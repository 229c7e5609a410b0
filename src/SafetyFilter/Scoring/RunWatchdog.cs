using System.Diagnostics;
using System.Runtime.InteropServices;

namespace SafetyFilter.Scoring;

/// <summary>
/// Cuts runs that overrun their limit: one thread for the process over a fixed table of deadlines. Thread-safe.
/// </summary>
/// <remarks>
/// A run writes its deadline into a slot and clears it again: two interlocked operations, no lock, no system call, no allocation. That needs
/// a thread that looks by itself. While runs come and all of them end in time it looks every <see cref="CalmLook"/>, so one that hangs is
/// cut late by up to that. Within <see cref="Alert"/> of a cut it looks every <see cref="LookEvery"/>, no deadline is closer than that, and it wakes for each
/// that it has seen: where a model hangs, the next runs are cut in time. Without runs it sleeps until one wakes it. Looking every millisecond
/// all the time took a fifth of the sidecar's CPU at 400 requests a second. Timers of the
/// platform were rejected: they allocate, lock and know whole milliseconds. Waking takes 50 to 100 us, more on a busy machine.
/// </remarks>
internal sealed partial class RunWatchdog : IDisposable
{
    // What a slot holds besides a deadline, which is positive.
    private const long Free = 0;
    private const long Taken = -1;
    private const long Cutting = -2;
    private const long IsCut = -3;

    // What the watching thread does.
    private const int SeesRuns = 0;
    private const int SawNone = 1;
    private const int Asleep = 2;
    private const int Ended = 3;

    // So many looks without a run in a row, and it sleeps.
    private const int IdleLooks = 20;

    // More runs at once than this are not watched. They are as many as threads that score, which are a few per core.
    private const int Slots = 64;

    /// <summary>
    /// The least that a run is given before it is cut, also where its limit is smaller. A millisecond, which is the default budget: looking
    /// more often costs every request more than a cut run saves.
    /// </summary>
    public static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(1);

    /// <summary>How late a run that hangs may be cut, unless another was within <see cref="Alert"/> before.</summary>
    public static readonly TimeSpan CalmLook = TimeSpan.FromMilliseconds(5);

    /// <summary>How long a cut makes it look more often. Short: on a busy machine now and then a run is late that does not hang.</summary>
    public static readonly TimeSpan Alert = TimeSpan.FromMilliseconds(20);

    private static readonly long LookEveryTicks = TicksOf(LookEvery);
    private static readonly long CalmLookTicks = TicksOf(CalmLook);
    private static readonly long AlertTicks = TicksOf(Alert);

    private readonly Slot[] _slots = new Slot[Slots];
    private readonly AutoResetEvent _wake = new(false);
    private readonly Thread? _thread;
    private int _state = Asleep;
    private long _lastCut = long.MinValue / 2;

    public RunWatchdog()
        : this(startThread: true)
    {
    }

    /// <param name="startThread">False leaves it to the caller to call <see cref="Look"/>.</param>
    internal RunWatchdog(bool startThread)
    {
        if (startThread)
        {
            _thread = new Thread(Run) { IsBackground = true, Name = "run watchdog" };
            _thread.Start();
        }
    }

    /// <summary>When a run that starts at <paramref name="now"/> is to be cut, both as timestamps of <see cref="Stopwatch"/>.</summary>
    public static long DeadlineOf(long now, uint micros) => now + Math.Max(LookEveryTicks, (long)(micros * 1e-6 * Stopwatch.Frequency));

    /// <summary>Cuts it once <paramref name="deadline"/> has passed, unless <see cref="Release"/> comes first.</summary>
    /// <returns>The slot to release, or -1 when all are taken and the run is not watched.</returns>
    public int Watch(RunCutoff run, long deadline)
    {
        var first = Thread.GetCurrentProcessorId();
        for (var i = 0; i < Slots; i++)
        {
            var index = (first + i) & (Slots - 1);
            ref var slot = ref _slots[index];
            if (slot.Deadline == Free && Interlocked.CompareExchange(ref slot.Deadline, Taken, Free) == Free)
            {
                slot.Run = run;

                // A full fence: whoever falls asleep after this sees the deadline.
                Interlocked.Exchange(ref slot.Deadline, deadline);
                if (Volatile.Read(ref _state) != SeesRuns)
                {
                    Stir();
                }

                return index;
            }
        }

        return -1;
    }

    /// <summary>Ends the watch. After it the run is not touched any more; it tells by itself whether it was cut.</summary>
    public void Release(int index)
    {
        ref var slot = ref _slots[index];
        var deadline = Volatile.Read(ref slot.Deadline);
        if (deadline <= 0 || Interlocked.CompareExchange(ref slot.Deadline, Free, deadline) != deadline)
        {
            var spin = default(SpinWait);
            while (Volatile.Read(ref slot.Deadline) == Cutting)
            {
                spin.SpinOnce();
            }

            Volatile.Write(ref slot.Deadline, Free);
        }
    }

    /// <summary>Cuts what is overdue. Returns the earliest deadline left, or <see cref="long.MaxValue"/>.</summary>
    internal long Look(long now)
    {
        var earliest = long.MaxValue;
        foreach (ref var slot in _slots.AsSpan())
        {
            var deadline = Volatile.Read(ref slot.Deadline);
            if (deadline > now)
            {
                earliest = Math.Min(earliest, deadline);
            }
            else if (deadline > 0 && Interlocked.CompareExchange(ref slot.Deadline, Cutting, deadline) == deadline)
            {
                slot.Run!.Cut();
                Volatile.Write(ref slot.Deadline, IsCut);
                _lastCut = now;
            }
        }

        return earliest;
    }

    /// <summary>Ends the thread; no run is cut any more.</summary>
    public void Dispose()
    {
        Interlocked.Exchange(ref _state, Ended);
        _wake.Set();
        _thread?.Join();
        _wake.Dispose();
    }

    private void Stir()
    {
        if (Interlocked.CompareExchange(ref _state, SeesRuns, SawNone) == Asleep
            && Interlocked.CompareExchange(ref _state, SeesRuns, Asleep) == Asleep)
        {
            _wake.Set();
        }
    }

    private void Run()
    {
        var idle = 0;
        while (Volatile.Read(ref _state) != Ended)
        {
            var now = Stopwatch.GetTimestamp();
            var earliest = Look(now);
            var sawRun = Interlocked.CompareExchange(ref _state, SawNone, SeesRuns) == SeesRuns || earliest != long.MaxValue;
            idle = sawRun ? 0 : idle + 1;
            if (idle < IdleLooks)
            {
                Nap(PauseAfter(now, earliest));
            }
            else if (Interlocked.CompareExchange(ref _state, Asleep, SawNone) is SawNone or Asleep && Look(now) == long.MaxValue)
            {
                _wake.WaitOne();
                idle = 0;
            }
        }
    }

    /// <summary>How long not to look again, in ticks, when the earliest deadline is <paramref name="earliest"/>.</summary>
    internal long PauseAfter(long now, long earliest) =>
        now - _lastCut < AlertTicks ? Math.Min(earliest - now, LookEveryTicks) : CalmLookTicks;

    private static long TicksOf(TimeSpan time) => (long)(time.TotalSeconds * Stopwatch.Frequency);

    private static void Nap(long ticks)
    {
        var time = new TimeSpec { Nanoseconds = (nint)(ticks * 1_000_000_000L / Stopwatch.Frequency) };
        _ = NanoSleep(time, 0);
    }

    // The platform's own sleep knows whole milliseconds.
    [LibraryImport("libc", EntryPoint = "nanosleep")]
    private static partial int NanoSleep(in TimeSpec time, nint remaining);

    private struct TimeSpec
    {
        public nint Seconds;
        public nint Nanoseconds;
    }

    // A cache line each, so that requests on different cores do not share one.
    [StructLayout(LayoutKind.Sequential, Size = 64)]
    private struct Slot
    {
        public long Deadline;
        public RunCutoff? Run;
    }
}
