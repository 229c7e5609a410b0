using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text.Json;
using SafetyFilter.Cli.Demo;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>How a server is started.</summary>
/// <param name="Name">As it is called in messages.</param>
/// <param name="Program">Found by path, or by PATH.</param>
/// <param name="Arguments">One each.</param>
internal sealed record ServerLaunch(string Name, string Program, params string[] Arguments)
{
    public Dictionary<string, string> Environment { get; } = new(StringComparer.Ordinal);

    /// <summary>A program of this build, run with the sidecar's runtime configuration, so that its garbage collector and thread pool are the sidecar's.</summary>
    public static ServerLaunch OfThisProgram(string name, params string[] arguments) => new(
        name,
        Path.Combine(DotnetRoot, "dotnet"),
        [
            "exec",
            "--runtimeconfig", Beside("SafetyFilter.Sidecar.runtimeconfig.json"),
            "--depsfile", Beside("SafetyFilter.Benchmarks.deps.json"),
            Beside("SafetyFilter.Benchmarks.dll"),
            .. arguments,
        ]);

    // The one that runs us is the one that all were built for.
    public static string DotnetRoot { get; } = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));

    public static string Beside(string file) => Path.Combine(AppContext.BaseDirectory, file);
}

/// <summary>A server as a process of its own on one core, from its first instruction on.</summary>
/// <remarks>Disposing kills it: its folder is temporary too.</remarks>
internal sealed class ServerProcess : IAsyncDisposable
{
    private const int KeptLines = 30;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(5);

    private readonly ServerLaunch _launch;
    private readonly Process _process;
    private readonly Queue<string> _output = new();
    private readonly HttpClient _http = new();
    private string _metrics = "";

    private ServerProcess(ServerLaunch launch, int core, bool talks)
    {
        _launch = launch;
        Core = core;
        var start = new ProcessStartInfo("taskset")
        {
            RedirectStandardInput = talks,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        foreach (var argument in (string[])["-c", core.ToString(CultureInfo.InvariantCulture), launch.Program, .. launch.Arguments])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment["DOTNET_ROOT"] = ServerLaunch.DotnetRoot;
        foreach (var (key, value) in launch.Environment)
        {
            start.Environment[key] = value;
        }

        _process = new Process { StartInfo = start };
        _process.ErrorDataReceived += (_, line) => Keep(line.Data);
        if (!talks)
        {
            _process.OutputDataReceived += (_, line) => Keep(line.Data);
        }
    }

    /// <summary>The one that it is pinned to.</summary>
    public int Core { get; }

    /// <summary>From the start of the process until it served.</summary>
    public TimeSpan StartTime { get; private set; }

    /// <summary>Nanoseconds.</summary>
    public long CpuTime => CpuClock.OfProcess(_process.Id);

    /// <summary>Bytes in memory.</summary>
    public long ResidentBytes
    {
        get
        {
            _process.Refresh();
            return _process.WorkingSet64;
        }
    }

    /// <summary>Starts a server and waits until it serves.</summary>
    /// <param name="core">The only one that it gets.</param>
    /// <param name="readyFile">The file that it writes with its addresses when it serves; null for a server that only opens its socket.</param>
    /// <param name="socket">Where it listens.</param>
    /// <exception cref="SidecarFailedException">It ended, or did not serve within a minute.</exception>
    public static async Task<ServerProcess> ServeAsync(ServerLaunch launch, int core, string? readyFile, string socket, CancellationToken stop)
    {
        var server = new ServerProcess(launch, core, talks: false);
        try
        {
            var start = Stopwatch.GetTimestamp();
            server.Launch();
            server._process.BeginOutputReadLine();
            while (!(readyFile is null ? Accepts(socket) : File.Exists(readyFile)))
            {
                server.ThrowIfOver(start);
                await Task.Delay(BetweenLooks, stop);
            }

            server.StartTime = Stopwatch.GetElapsedTime(start);
            if (readyFile is not null)
            {
                using var note = JsonDocument.Parse(await File.ReadAllTextAsync(readyFile, stop));
                server._metrics = note.RootElement.GetProperty("metrics").GetString()!;
            }

            return server;
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts a process that is talked to in lines.</summary>
    public static ServerProcess Talk(ServerLaunch launch, int core)
    {
        var server = new ServerProcess(launch, core, talks: true);
        server.Launch();
        return server;
    }

    /// <summary>Says a line and returns the line that comes back.</summary>
    /// <exception cref="SidecarFailedException">It has ended.</exception>
    public async Task<string> AskAsync(string line, CancellationToken stop)
    {
        await _process.StandardInput.WriteLineAsync(line.AsMemory(), stop);
        await _process.StandardInput.FlushAsync(stop);
        return await _process.StandardOutput.ReadLineAsync(stop) ?? throw Failed("ended");
    }

    /// <summary>What its runtime has counted; null when it has no endpoint for it.</summary>
    public async Task<RuntimeCounters?> ReadCountersAsync(CancellationToken stop) =>
        _metrics.Length == 0 ? null : RuntimeCounters.Parse(await _http.GetStringAsync(_metrics, stop));

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        try
        {
            _process.Kill();
            await _process.WaitForExitAsync();
        }
        catch (InvalidOperationException)
        {
            // It could not be started.
        }

        _process.Dispose();
    }

    private void Launch()
    {
        try
        {
            _process.Start();
        }
        catch (System.ComponentModel.Win32Exception error)
        {
            throw new SidecarFailedException($"taskset cannot be started: {error.Message} It comes with util-linux, and pins servers to their core.");
        }

        _process.BeginErrorReadLine();
    }

    private void ThrowIfOver(long start)
    {
        if (_process.HasExited)
        {
            throw Failed($"ended with exit code {_process.ExitCode} before it served");
        }

        if (Stopwatch.GetElapsedTime(start) > Patience)
        {
            throw Failed($"did not serve within {Patience.TotalSeconds:0} s");
        }
    }

    private SidecarFailedException Failed(string what)
    {
        lock (_output)
        {
            return new SidecarFailedException($"'{_launch.Name}' {what}. Its last lines:\n{string.Join('\n', _output)}");
        }
    }

    private void Keep(string? line)
    {
        if (line is null)
        {
            return;
        }

        lock (_output)
        {
            if (_output.Count == KeptLines)
            {
                _output.Dequeue();
            }

            _output.Enqueue(line);
        }
    }

    private static bool Accepts(string socket)
    {
        try
        {
            using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            probe.Connect(new UnixDomainSocketEndPoint(socket));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
