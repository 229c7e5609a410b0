using System.Diagnostics;
using System.Globalization;

namespace SafetyFilter.Cli.Audit;

/// <summary>A line on stderr once a second: how much was read, how fast, and when it will be done.</summary>
/// <param name="now">Records and bytes read so far; asked on a timer's thread.</param>
/// <param name="done">Which part of everything that is; null when it is not known.</param>
internal sealed class ReadProgress(TextWriter errors, Func<(long Records, long Bytes)> now, Func<double?> done) : IDisposable
{
    private readonly long _since = Stopwatch.GetTimestamp();
    private Timer? _timer;

    /// <summary>Only for people: a terminal, or who asks for it.</summary>
    public void Start(bool isAsked)
    {
        if (isAsked || !Console.IsErrorRedirected)
        {
            _timer = new Timer(_ => Tell(), null, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
        }
    }

    public void Dispose()
    {
        if (_timer is not null)
        {
            _timer.Dispose();
            _timer = null;
            Tell();
        }
    }

    private void Tell()
    {
        var (records, bytes) = now();
        var seconds = Stopwatch.GetElapsedTime(_since).TotalSeconds;
        var left = done() is > 0 and <= 1 and var part ? $", {part:P0}, {TimeSpan.FromSeconds(Math.Ceiling(seconds / part - seconds)):c} left" : "";
        errors.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{records:N0} records, {bytes / 1048576.0:N1} MiB, {records / seconds:N0} records/s{left}"));
    }
}
