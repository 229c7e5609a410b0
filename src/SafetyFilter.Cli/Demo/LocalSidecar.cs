using System.Diagnostics;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Grpc.Core;
using Grpc.Health.V1;
using Grpc.Net.Client;
using SafetyFilter.Client;

namespace SafetyFilter.Cli.Demo;

/// <summary>
/// The real sidecar as a process of its own: started from the files beside this program, configured by environment
/// variables only, ready when grpc.health.v1 says so on its Unix socket, stopped by a signal.
/// </summary>
/// <remarks>Thread-safe. Disposing kills a process that still runs.</remarks>
internal sealed partial class LocalSidecar : IAsyncDisposable
{
    // A start with models takes about a second on two busy cores; a minute is a broken machine, not a slow one.
    private const int ReadyAttempts = 600;
    private static readonly TimeSpan BetweenAttempts = TimeSpan.FromMilliseconds(100);

    // Enough to explain a failure; a sidecar that logs in a loop must not fill our memory.
    private const int KeptLines = 20_000;

    private readonly Process _process;
    private readonly Queue<string> _output = new();
    private readonly TaskCompletionSource _exited = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _disposed;

    private LocalSidecar(ProcessStartInfo start, string unixSocket)
    {
        UnixSocket = unixSocket;
        _process = new Process { StartInfo = start, EnableRaisingEvents = true };
        _process.OutputDataReceived += (_, line) => Keep(line.Data);
        _process.ErrorDataReceived += (_, line) => Keep(line.Data);
        _process.Exited += (_, _) => _exited.TrySetResult();
    }

    public string UnixSocket { get; }

    public int ProcessId { get; private set; }

    /// <summary>From the start of the process until it said that it serves.</summary>
    public TimeSpan StartTime { get; private set; }

    /// <summary>What it wrote to standard output and standard error, in the order it arrived.</summary>
    public IReadOnlyList<string> Output
    {
        get
        {
            lock (_output)
            {
                return [.. _output];
            }
        }
    }

    /// <summary>Starts it and waits until it serves.</summary>
    /// <param name="settings">Configuration keys with <c>__</c> between levels, e.g. <c>Listen__UnixSocket</c> (required).</param>
    /// <param name="ready">A further condition besides health, asked again until it holds.</param>
    /// <param name="program">An executable of the sidecar, such as a native one. Null: the one beside this program.</param>
    /// <param name="cancellationToken">Ends the wait, and the process.</param>
    /// <exception cref="SidecarFailedException">It is not there, ended, or did not serve within a minute.</exception>
    public static async Task<LocalSidecar> StartAsync(
        IReadOnlyDictionary<string, string> settings, Func<bool>? ready = null, string? program = null, CancellationToken cancellationToken = default)
    {
        var sidecar = new LocalSidecar(Describe(settings, program ?? BesideUs), settings["Listen__UnixSocket"]);
        try
        {
            var start = Stopwatch.GetTimestamp();
            sidecar.Launch();
            await sidecar.WaitUntilServingAsync(ready, cancellationToken);
            sidecar.StartTime = Stopwatch.GetElapsedTime(start);
            return sidecar;
        }
        catch
        {
            await sidecar.DisposeAsync();
            throw;
        }
    }

    /// <summary>SIGTERM, then waits for the end. Returns the exit code, or null when it had to be killed.</summary>
    public async Task<int?> StopAsync(TimeSpan patience)
    {
        Signal(SigTerm);
        return await ExitAsync(patience);
    }

    /// <summary>Waits for the end. Returns the exit code, or null when it did not end in time and was killed.</summary>
    public async Task<int?> ExitAsync(TimeSpan patience)
    {
        try
        {
            await _exited.Task.WaitAsync(patience);
        }
        catch (TimeoutException)
        {
            await KillAsync();
            return null;
        }

        // Exited fires before the last lines have been read.
        await _process.WaitForExitAsync();
        return _process.ExitCode;
    }

    /// <summary>SIGKILL: no chance to flush anything.</summary>
    public async Task KillAsync()
    {
        Signal(SigKill);
        await _process.WaitForExitAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        if (ProcessId != 0 && !_process.HasExited)
        {
            await KillAsync();
        }

        _process.Dispose();
    }

    private static string BesideUs =>
        Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "SafetyFilter.Sidecar.exe" : "SafetyFilter.Sidecar");

    private static ProcessStartInfo Describe(IReadOnlyDictionary<string, string> settings, string program)
    {
        if (!File.Exists(program))
        {
            throw new SidecarFailedException(
                $"The sidecar is not at {program}. Build src/SafetyFilter.Cli, which puts one beside itself, or publish a native one (deploy/README.md).");
        }

        var start = new ProcessStartInfo(program)
        {
            WorkingDirectory = AppContext.BaseDirectory,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        // The apphost looks for a runtime in the usual places only; the one that runs us is the one it was built for.
        var root = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));
        if (File.Exists(Path.Combine(root, "dotnet")))
        {
            start.Environment["DOTNET_ROOT"] = root;
        }

        foreach (var (key, value) in settings)
        {
            start.Environment[key] = value;
        }

        return start;
    }

    private void Launch()
    {
        _process.Start();
        ProcessId = _process.Id;
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    private async Task WaitUntilServingAsync(Func<bool>? ready, CancellationToken cancellationToken)
    {
        var endpoint = new UnixDomainSocketEndPoint(UnixSocket);
        using var channel = GrpcChannel.ForAddress("http://localhost", new GrpcChannelOptions
        {
            HttpHandler = new SocketsHttpHandler { ConnectCallback = (_, token) => SafetyFilterClient.ConnectAsync(endpoint, token) },
            DisposeHttpClient = true,
        });
        var health = new Health.HealthClient(channel);
        using var timer = new PeriodicTimer(BetweenAttempts);
        for (var attempt = 0; attempt < ReadyAttempts; attempt++)
        {
            if (_exited.Task.IsCompleted)
            {
                await _process.WaitForExitAsync(cancellationToken);
                throw Failed($"The sidecar ended with exit code {_process.ExitCode} before it served.");
            }

            if (await IsServingAsync(health, cancellationToken) && ready?.Invoke() != false)
            {
                return;
            }

            await timer.WaitForNextTickAsync(cancellationToken);
        }

        throw Failed($"The sidecar did not serve within {ReadyAttempts * BetweenAttempts.TotalSeconds:0} s.");
    }

    private async Task<bool> IsServingAsync(Health.HealthClient health, CancellationToken cancellationToken)
    {
        if (!File.Exists(UnixSocket))
        {
            return false;
        }

        try
        {
            var answer = await health.CheckAsync(
                new HealthCheckRequest(), deadline: DateTime.UtcNow.AddSeconds(5), cancellationToken: cancellationToken);
            return answer.Status == HealthCheckResponse.Types.ServingStatus.Serving;
        }
        catch (RpcException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
    }

    private SidecarFailedException Failed(string what)
    {
        var lines = Output;
        return new SidecarFailedException(what + " Its last lines:\n" + string.Join('\n', lines.Skip(Math.Max(0, lines.Count - 30))));
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

    private const int SigKill = 9;
    private const int SigTerm = 15;

    private void Signal(int signal)
    {
        // After the end the id may belong to another process.
        if (_process.HasExited)
        {
            return;
        }

        if (OperatingSystem.IsWindows())
        {
            // Windows has no SIGTERM for a process without a console of its own.
            _process.Kill();
        }
        else
        {
            _ = Kill(ProcessId, signal);
        }
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int pid, int signal);
}

/// <summary>The sidecar did not start, or did not serve; the message says why and shows its last lines.</summary>
internal sealed class SidecarFailedException(string message) : Exception(message);
