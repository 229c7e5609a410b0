using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;

namespace SafetyFilter.Benchmarks.Start;

/// <summary>A sidecar in a fresh folder, from the start of its process on.</summary>
internal sealed partial class RunningContender : IAsyncDisposable
{
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(1);
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-start-");
    private readonly Process _process;

    private RunningContender(Contender contender)
    {
        var start = new ProcessStartInfo(contender.Program)
        {
            WorkingDirectory = _folder.FullName,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        foreach (var (key, value) in contender.Variables.Concat(Settings()))
        {
            start.Environment[key] = value;
        }

        _process = new Process { StartInfo = start };
    }

    public string Target => "unix:" + Path.Combine(_folder.FullName, "filter.sock");

    /// <summary>From the start of the process until it said that it serves.</summary>
    public TimeSpan Serving { get; private set; }

    /// <summary>CPU time of the process until then.</summary>
    public TimeSpan ServingCpu { get; private set; }

    /// <summary>From the start of the process until a page of 16 captions was answered.</summary>
    public TimeSpan FirstAnswer { get; private set; }

    public TimeSpan CpuTime
    {
        get
        {
            _process.Refresh();
            return _process.TotalProcessorTime;
        }
    }

    /// <summary>Starts it, asks for one page and measures both.</summary>
    public static async Task<RunningContender> StartAsync(Contender contender, Page page, CancellationToken stop)
    {
        var running = new RunningContender(contender);
        try
        {
            var ready = Path.Combine(running._folder.FullName, "ready");
            var since = Stopwatch.GetTimestamp();
            running._process.Start();
            running._process.BeginOutputReadLine();
            running._process.BeginErrorReadLine();
            while (!File.Exists(ready))
            {
                if (running._process.HasExited)
                {
                    throw new InvalidOperationException($"{contender.Program} ended with exit code {running._process.ExitCode} before it served.");
                }

                await Task.Delay(BetweenLooks, stop);
            }

            running.Serving = Stopwatch.GetElapsedTime(since);
            running.ServingCpu = running.CpuTime;
            using var client = SafetyFilterClient.Connect(running.Target, new SafetyFilterClientOptions { Deadline = TimeSpan.FromSeconds(30), FailMode = LocalFailMode.Throw });
            await client.FilterAsync(page.Query, stop);
            running.FirstAnswer = Stopwatch.GetElapsedTime(since);
            return running;
        }
        catch
        {
            await running.DisposeAsync();
            throw;
        }
    }

    public Memory ReadMemory()
    {
        var lines = File.ReadAllLines($"/proc/{_process.Id}/status");
        return new Memory(Of("VmRSS:"), Of("RssAnon:"));

        double Of(string name) =>
            double.Parse(lines.Single(line => line.StartsWith(name, StringComparison.Ordinal))[name.Length..^"kB".Length], CultureInfo.InvariantCulture) / 1024;
    }

    public async ValueTask DisposeAsync()
    {
        if (_process.Id > 0 && !_process.HasExited)
        {
            _process.Kill();
            await _process.WaitForExitAsync();
        }

        _process.Dispose();
        _folder.Delete(recursive: true);
    }

    /// <summary>No call is cut, shed or refused because the machine is busy: all contenders do the same work.</summary>
    private Dictionary<string, string> Settings()
    {
        var policies = _folder.CreateSubdirectory("policies").FullName;
        foreach (var file in Directory.EnumerateFiles(Path.Combine(AppContext.BaseDirectory, "policies"), "*.yaml"))
        {
            File.WriteAllText(Path.Combine(policies, Path.GetFileName(file)), BudgetLine().Replace(File.ReadAllText(file), "budget_us: 1000000"));
        }

        return new(StringComparer.Ordinal)
        {
            ["Listen__UnixSocket"] = Path.Combine(_folder.FullName, "filter.sock"),
            ["Listen__Tcp"] = "",
            ["Listen__Metrics"] = "127.0.0.1:0",
            ["Listen__ReadyFile"] = Path.Combine(_folder.FullName, "ready"),
            ["Ledger__Spool__Folder"] = Path.Combine(_folder.FullName, "spool"),
            ["Models__Folder"] = Path.Combine(AppContext.BaseDirectory, "models"),
            ["Policies__Folder"] = policies,
            ["Breaker__SlowCallMicros"] = "0",
            ["Admission__MaxWait"] = "00:00:30",
        };
    }

    [GeneratedRegex(@"budget_us:\s*\d+", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex BudgetLine();
}

/// <summary>Resident MiB: all of it, and what is not backed by a file (executable, models' library and spool are).</summary>
internal readonly record struct Memory(double Resident, double Anonymous);
