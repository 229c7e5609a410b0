using System.Globalization;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>How long a core had nothing to run, as <c>/proc/stat</c> counts it: what neither a server nor it used, others did.</summary>
internal static class CoreClock
{
    private const long TickNanos = 10_000_000;

    // Columns after the name: user nice system idle iowait irq softirq steal.
    private const int Idle = 4;
    private const int Waiting = 5;

    /// <summary>Nanoseconds since the start of the system, in steps of 10 ms.</summary>
    public static long IdleOf(int core) => Parse(File.ReadLines("/proc/stat"), core);

    /// <exception cref="FormatException">There is no such core.</exception>
    public static long Parse(IEnumerable<string> lines, int core)
    {
        var name = string.Create(CultureInfo.InvariantCulture, $"cpu{core} ");
        var columns = lines.FirstOrDefault(line => line.StartsWith(name, StringComparison.Ordinal))?.Split(' ')
            ?? throw new FormatException($"/proc/stat has no '{name.Trim()}'.");
        return TickNanos * (long.Parse(columns[Idle], CultureInfo.InvariantCulture) + long.Parse(columns[Waiting], CultureInfo.InvariantCulture));
    }
}
