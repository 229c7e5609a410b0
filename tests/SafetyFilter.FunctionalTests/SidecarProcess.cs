using System.Text.Json;
using System.Text.RegularExpressions;
using Grpc.Net.Client;
using SafetyFilter.Cli.Demo;
using SafetyFilter.Client;

namespace SafetyFilter.FunctionalTests;

/// <summary>
/// The real sidecar in a temporary folder: Unix socket, TCP on a port of the system's choosing, its own spool.
/// </summary>
/// <remarks>
/// <code>
/// await using var sidecar = await SidecarProcess.StartAsync(("Limits__MaxCandidates", "10"));
/// using var client = sidecar.Client();
/// </code>
/// Policies are the reference ones with a generous budget. A test that restarts on the same spool calls <see cref="RestartAsync"/>. Disposing kills what still runs, removes
/// the folder, and fails when the sidecar logged an error that the test did not expect.
/// </remarks>
internal sealed partial class SidecarProcess : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-");
    private LocalSidecar _process = null!;

    private SidecarProcess()
    {
    }

    /// <summary>A native sidecar that every test of this run starts instead of the one beside it. Null: not set.</summary>
    public static string? NativeExecutable { get; } = Environment.GetEnvironmentVariable("SAFETYFILTER_NATIVE") is { Length: > 0 } path ? Path.GetFullPath(path) : null;

    public string Folder => _folder.FullName;

    public string Spool => Path.Combine(Folder, "spool");

    public string UnixSocket => Path.Combine(Folder, "filter.sock");

    /// <summary>http://127.0.0.1:PORT</summary>
    public string Tcp { get; private set; } = "";

    /// <summary>The whole address of the Prometheus endpoint.</summary>
    public string Metrics { get; private set; } = "";

    public int ProcessId => _process.ProcessId;

    /// <summary>Everything it wrote to standard output and error since its (last) start.</summary>
    public IReadOnlyList<string> Output => _process.Output;

    /// <summary>Event ids of the errors that a test causes on purpose.</summary>
    public HashSet<int> ExpectedErrors { get; } = [];

    public string ReadyFile => Path.Combine(Folder, "ready.json");

    /// <summary>Starts it and waits until grpc.health.v1 says SERVING and the ready file is there.</summary>
    /// <param name="settings">Further settings, as environment variables: <c>Section__Key</c>. They win over the harness's own.</param>
    public static async Task<SidecarProcess> StartAsync(params (string Key, string Value)[] settings)
    {
        var sidecar = new SidecarProcess();
        try
        {
            await sidecar.LaunchAsync(settings);
            return sidecar;
        }
        catch
        {
            await sidecar.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts a new process on the same folder. The old one must have ended.</summary>
    public async Task RestartAsync(params (string Key, string Value)[] settings)
    {
        await _process.DisposeAsync();
        FailOnUnexpectedErrors();
        File.Delete(ReadyFile);
        await LaunchAsync(settings);
    }

    /// <summary>SIGTERM. Returns the exit code, or null when it did not end within 30 seconds and was killed.</summary>
    public Task<int?> StopAsync() => _process.StopAsync(TimeSpan.FromSeconds(30));

    /// <summary>SIGKILL, and waits for the end.</summary>
    public Task KillAsync() => _process.KillAsync();

    public SafetyFilterClient Client(SafetyFilterClientOptions? options = null) => SafetyFilterClient.Connect("unix:" + UnixSocket, options ?? Patient);

    public SafetyFilterClient TcpClient(SafetyFilterClientOptions? options = null) => SafetyFilterClient.Connect(Tcp, options ?? Patient);

    /// <summary>A raw channel over TCP, for requests that the client library would not build.</summary>
    public GrpcChannel Channel() => GrpcChannel.ForAddress(Tcp);

    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            await _process.DisposeAsync();
        }

        _folder.Delete(recursive: true);
        if (_process is not null)
        {
            FailOnUnexpectedErrors();
        }
    }

    /// <summary>The first line that is an error which was not expected, or no log line at all. Null when there is none.</summary>
    public static string? UnexpectedError(IEnumerable<string> output, IReadOnlySet<int> expected)
    {
        foreach (var line in output)
        {
            // Logs are JSON: anything else is the runtime's own cry, or a setting that has no effect.
            if (!line.StartsWith('{') || (IsError(line, out var id) && !expected.Contains(id)))
            {
                return line;
            }
        }

        return null;
    }

    private static bool IsError(string line, out int id)
    {
        id = 0;
        try
        {
            using var json = JsonDocument.Parse(line);
            id = json.RootElement.GetProperty("EventId").GetInt32();
            return json.RootElement.GetProperty("LogLevel").GetString() is "Error" or "Critical";
        }
        catch (JsonException)
        {
            // Cut off by a kill.
            return false;
        }
    }

    private void FailOnUnexpectedErrors()
    {
        var error = UnexpectedError(Output, ExpectedErrors);
        Assert.True(error is null, $"The sidecar logged an error that the test did not expect: {error}");
    }

    // Tests run beside builds and each other: a deadline that production wants would only make them flaky.
    private static SafetyFilterClientOptions Patient => new() { Deadline = TimeSpan.FromSeconds(30), FailMode = LocalFailMode.Throw };

    private async Task LaunchAsync((string Key, string Value)[] settings)
    {
        var all = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["Listen__UnixSocket"] = UnixSocket,
            ["Listen__Tcp"] = "127.0.0.1:0",
            ["Listen__Metrics"] = "127.0.0.1:0",
            // Not Production, so that a test may switch Chaos on.
            ["ASPNETCORE_ENVIRONMENT"] = "Test",
            ["Listen__ReadyFile"] = ReadyFile,
            ["Ledger__Spool__Folder"] = Spool,
            // Nor may a busy machine open a breaker: a test of slow calls sets it.
            ["Breaker__SlowCallMicros"] = "0",
            // Nor does it turn requests away: a test of overload sets it.
            ["Admission__MaxWait"] = "00:00:30",
            ["Models__Folder"] = Path.Combine(AppContext.BaseDirectory, "models"),
            ["Policies__Folder"] = WritePatientPolicies(),
        };
        foreach (var (key, value) in settings)
        {
            all[key] = value;
        }

        _process = await LocalSidecar.StartAsync(all, ReadReadyFile, NativeExecutable, TestContext.Current.CancellationToken);
    }

    /// <summary>
    /// The reference policies with the largest budget there is. Tests share the machine with builds, and a classifier that
    /// did not get its millisecond would fail by its fail mode, as it should. A test of budgets sets Policies__Folder.
    /// </summary>
    private string WritePatientPolicies()
    {
        var folder = Directory.CreateDirectory(Path.Combine(Folder, "policies"));
        foreach (var file in Directory.EnumerateFiles(Path.Combine(AppContext.BaseDirectory, "policies"), "*.yaml"))
        {
            var patient = BudgetLine().Replace(File.ReadAllText(file), "budget_us: 1000000");
            File.WriteAllText(Path.Combine(folder.FullName, Path.GetFileName(file)), patient);
        }

        return folder.FullName;
    }

    [GeneratedRegex(@"budget_us:\s*\d+", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex BudgetLine();

    private bool ReadReadyFile()
    {
        if (!File.Exists(ReadyFile))
        {
            return false;
        }

        try
        {
            using var json = JsonDocument.Parse(File.ReadAllText(ReadyFile));
            Tcp = json.RootElement.GetProperty("tcp").GetString()!;
            Metrics = json.RootElement.GetProperty("metrics").GetString()!;
            return true;
        }
        catch (JsonException)
        {
            // Half written; asked again.
            return false;
        }
    }
}
