using System.Runtime.InteropServices;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>CPU time in nanoseconds, user and system together, from the kernel's own clocks: <c>/proc/PID/stat</c> counts in steps of 10 ms.</summary>
internal static partial class CpuClock
{
    // CLOCK_THREAD_CPUTIME_ID; a process' clock is made of its id (clock_getcpuclockid(3), MAKE_PROCESS_CPUCLOCK).
    private const int ThisThread = 3;
    private const int SchedClock = 2;

    public static long OfThisThread() => Read(ThisThread);

    /// <exception cref="IOException">There is no such process.</exception>
    public static long OfProcess(int processId) => Read((~processId << 3) | SchedClock);

    private static long Read(int clock) =>
        ClockGetTime(clock, out var time) == 0
            ? (time.Seconds * 1_000_000_000) + time.Nanoseconds
            : throw new IOException($"CPU clock {clock} cannot be read (error {Marshal.GetLastPInvokeError()}). Has the process ended?");

    [LibraryImport("libc", EntryPoint = "clock_gettime", SetLastError = true)]
    private static partial int ClockGetTime(int clock, out TimeSpec time);
}

/// <summary>struct timespec of a 64-bit system.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct TimeSpec(long Seconds, long Nanoseconds);
