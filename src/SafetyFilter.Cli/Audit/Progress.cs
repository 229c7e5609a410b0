using System.Diagnostics;
using System.Globalization;

namespace SafetyFilter.Cli.Audit;

/// <summary>Says on standard error how far a long reading has come, every few seconds.</summary>
internal sealed class Progress(TextWriter errors, string what)
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(3);

    private readonly long _started = Stopwatch.GetTimestamp();
    private TimeSpan _next = Pause;

    public TimeSpan Elapsed => Stopwatch.GetElapsedTime(_started);

    public void Reached(long decisions, long candidates)
    {
        if (Elapsed < _next)
        {
            return;
        }

        _next = Elapsed + Pause;
        errors.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{what}: {decisions:N0} decisions, {candidates:N0} candidates, {candidates / Elapsed.TotalSeconds:N0} candidates/s"));
    }
}
