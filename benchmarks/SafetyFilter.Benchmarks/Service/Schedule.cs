using System.Diagnostics;
using System.Runtime.InteropServices;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>
/// The instants at which requests are due, fixed before the first is sent: whatever the answers do, request k is due k/rate seconds after
/// the start, and its latency counts from then (no coordinated omission).
/// </summary>
/// <param name="start">A timestamp of <see cref="Stopwatch"/>.</param>
/// <param name="rate">Requests per second.</param>
/// <param name="length">Of the whole schedule.</param>
internal readonly partial struct Schedule(long start, double rate, TimeSpan length)
{
    private const int MonotonicClock = 1;
    private const int AbsoluteTime = 1;
    private const int SetTimerSlack = 29;

    // On Linux a timestamp is in nanoseconds of CLOCK_MONOTONIC, the clock that sleeps below.
    private const long NanosPerSecond = 1_000_000_000;

    /// <summary>How many requests are due.</summary>
    public int Count => Math.Max(1, (int)Math.Floor(rate * length.TotalSeconds));

    /// <summary>When request <paramref name="number"/> is due.</summary>
    public long Due(int number) => start + (long)(number / rate * Stopwatch.Frequency);

    /// <summary>Has the kernel wake this thread when it is due, and not up to 50 us later to save timers.</summary>
    public static void WakeThisThreadSharply() => _ = Prctl(SetTimerSlack, 1, 0, 0, 0);

    /// <summary>Sleeps until a timestamp. Does not spin, which would take the core from the answers.</summary>
    public static void SleepUntil(long due)
    {
        var until = new TimeSpec(due / NanosPerSecond, due % NanosPerSecond);
        while (Stopwatch.GetTimestamp() < due)
        {
            // Ends early by a signal.
            _ = ClockNanosleep(MonotonicClock, AbsoluteTime, until, 0);
        }
    }

    [LibraryImport("libc", EntryPoint = "clock_nanosleep")]
    private static partial int ClockNanosleep(int clock, int flags, in TimeSpec until, nint remaining);

    [LibraryImport("libc", EntryPoint = "prctl")]
    private static partial int Prctl(int option, nuint value, nuint third, nuint fourth, nuint fifth);
}
