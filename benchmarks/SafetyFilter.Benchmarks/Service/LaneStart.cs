using SafetyFilter.Cli.Demo;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>Starts the lanes of a workload, each with a folder of its own.</summary>
internal sealed class LaneStart(ServiceOptions options, string root, string models, CancellationToken stop)
{
    public const string Sidecar = "sidecar";
    public const string FloorGrpc = "floor.grpc";

    private const int SampledReplies = 64;

    /// <summary>The sidecar of this build, or another program that takes its settings, on the benchmark's policies.</summary>
    public async Task<GrpcLane> SidecarAsync(string name, string program, PolicyVariant policy, LaneRole role, RequestPool pool)
    {
        var folder = Folder(name);
        var policies = Path.Combine(folder, "policies");
        BenchmarkPolicies.Write(policies, policy);
        var launch = new ServerLaunch(name, program);
        var (socket, ready) = Listen(launch, folder);
        launch.Environment["Policies__Folder"] = policies;
        launch.Environment["Models__Folder"] = models;
        launch.Environment["Ledger__Spool__Folder"] = Path.Combine(folder, "ledger");
        return Lane(name, role, await ServerProcess.ServeAsync(launch, options.Cores.Server, ready, socket, stop), socket, pool, decides: true);
    }

    /// <summary>The floor whose replies are as large as those of a lane that is warm.</summary>
    public async Task<GrpcLane> GrpcFloorAsync(GrpcLane model, RequestPool pool)
    {
        var sizes = new List<double>();
        for (var number = 0; number < SampledReplies; number++)
        {
            sizes.Add((await model.Caller.AskAsync(pool.Requests[number])).Size);
        }

        var folder = Folder(FloorGrpc);
        var launch = ServerLaunch.OfThisProgram(FloorGrpc, GrpcFloor.Name, "--reply-bytes", Report.Number(Report.Median(sizes), 0).Replace(",", "", StringComparison.Ordinal));
        var (socket, ready) = Listen(launch, folder);
        return Lane(FloorGrpc, LaneRole.GrpcFloor, await ServerProcess.ServeAsync(launch, options.Cores.Server, ready, socket, stop), socket, pool, decides: false);
    }

    public async Task<OrtLane> OrtFloorAsync(Workload workload)
    {
        var launch = ServerLaunch.OfThisProgram("floor.ort", OrtFloor.Name, "--workload", workload.Name, "--models", models, "--seed", $"{options.Seed}");
        var server = ServerProcess.Talk(launch, options.Cores.Server);
        try
        {
            _ = await server.AskAsync(OrtFloor.Ready, stop);
            return new OrtLane(server);
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    /// <summary>Another server with the same proto. Its command is told where to listen by <c>{socket}</c>, and where the bundles are by <c>{models}</c>.</summary>
    /// <exception cref="SidecarFailedException">It does not serve.</exception>
    public async Task<GrpcLane> ExternalAsync(string command, RequestPool pool)
    {
        var socket = Path.Combine(Folder("external"), "f.sock");
        var launch = new ServerLaunch("external", "/bin/sh", "-c", "exec " + command.Replace("{socket}", socket, StringComparison.Ordinal).Replace("{models}", models, StringComparison.Ordinal));
        return Lane("external", LaneRole.Subject, await ServerProcess.ServeAsync(launch, options.Cores.Server, null, socket, stop), socket, pool, decides: true);
    }

    private GrpcLane Lane(string name, LaneRole role, ServerProcess server, string socket, RequestPool pool, bool decides) =>
        new(name, role, server, new FilterCaller(socket, pool.Workload, decides), pool, options.Callers);

    private static (string Socket, string Ready) Listen(ServerLaunch launch, string folder)
    {
        var (socket, ready) = (Path.Combine(folder, "f.sock"), Path.Combine(folder, "ready.json"));
        launch.Environment["Listen__UnixSocket"] = socket;
        launch.Environment["Listen__Tcp"] = "";
        launch.Environment["Listen__Metrics"] = "127.0.0.1:0";
        launch.Environment["Listen__ReadyFile"] = ready;

        // Whatever this shell says, it is measured as it is served.
        launch.Environment["ASPNETCORE_ENVIRONMENT"] = "Production";
        launch.Environment["DOTNET_ENVIRONMENT"] = "Production";
        return (socket, ready);
    }

    private string Folder(string name) => Directory.CreateDirectory(Path.Combine(root, name.Replace('/', '-'))).FullName;
}
