using System.Globalization;
using System.Text.Json;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>What a lane is to the others of its run.</summary>
internal enum LaneRole
{
    /// <summary>A server that does the workload's whole work: what is measured.</summary>
    Subject,

    /// <summary>Another build of the sidecar: a subject that is also compared with this one.</summary>
    OtherBuild,

    /// <summary>The sidecar with another workload, that a goal compares with.</summary>
    Compared,

    GrpcFloor,

    OrtFloor,
}

/// <summary>One of the servers that take turns. Used by one caller at a time.</summary>
internal abstract class Lane(string name, LaneRole role, ServerProcess server) : IAsyncDisposable
{
    public string Name => name;

    public LaneRole Role => role;

    public ServerProcess Server => server;

    /// <summary>Bytes in memory when it served and nobody had asked yet.</summary>
    public long ResidentIdle { get; } = server.ResidentBytes;

    /// <summary>Whether warming it up came to an end: what it costs had settled.</summary>
    public bool IsWarm { get; set; }

    /// <summary>Requests at a fixed rate.</summary>
    public abstract Task<Slice> PacedAsync(double rate, TimeSpan length, CancellationToken stop);

    /// <summary>As many as it can answer.</summary>
    public abstract Task<Slice> FlatOutAsync(TimeSpan length, CancellationToken stop);

    public virtual async ValueTask DisposeAsync() => await server.DisposeAsync();

    /// <summary>Makes a slice and adds what the server, its core and the load did meanwhile.</summary>
    private protected async Task<Slice> WatchedAsync(Func<Task<Slice>> run)
    {
        var (cpu, idle, load) = (server.CpuTime, CoreClock.IdleOf(server.Core), CpuClock.OfProcess(Environment.ProcessId));
        var slice = await run();
        slice.Cpu = server.CpuTime - cpu;
        slice.CoreIdle = CoreClock.IdleOf(server.Core) - idle;
        slice.LoadCpu = CpuClock.OfProcess(Environment.ProcessId) - load;
        return slice;
    }
}

/// <summary>A server with the filter's proto.</summary>
/// <param name="pool">Its requests; lanes of one workload share it.</param>
/// <param name="callers">How many ask at a time in a closed loop.</param>
internal sealed class GrpcLane(string name, LaneRole role, ServerProcess server, FilterCaller caller, RequestPool pool, int callers)
    : Lane(name, role, server)
{
    public FilterCaller Caller => caller;

    public override async Task<Slice> PacedAsync(double rate, TimeSpan length, CancellationToken stop)
    {
        var first = await Server.ReadCountersAsync(stop);
        var idleFrom = Server.CpuTime;
        await Task.Delay(Exposition.BetweenLooks, stop);
        var idle = Server.CpuTime - idleFrom;
        var before = await Server.ReadCountersAsync(stop);
        var slice = await WatchedAsync(() => Load.PacedAsync(caller, pool.Requests, rate, length, stop));
        slice.IdleCpu = idle / Exposition.BetweenLooks.TotalSeconds;
        if (await Server.ReadCountersAsync(stop) - before is { } runtime && before - first is { } look)
        {
            // Asking allocates too: as much as it did the time before. Collections come when they come.
            slice.Runtime = runtime with { Allocated = runtime.Allocated - look.Allocated };
        }

        return slice;
    }

    public override Task<Slice> FlatOutAsync(TimeSpan length, CancellationToken stop) =>
        WatchedAsync(() => Load.FlatOutAsync(caller, pool.Requests, callers, length, stop));

    public override async ValueTask DisposeAsync()
    {
        caller.Dispose();
        await base.DisposeAsync();
    }
}

/// <summary>ONNX Runtime on the same batches, without a server round it.</summary>
internal sealed class OrtLane(ServerProcess server) : Lane("floor.ort", LaneRole.OrtFloor, server)
{
    public override Task<Slice> PacedAsync(double rate, TimeSpan length, CancellationToken stop) => RunAsync(rate, length, stop);

    public override Task<Slice> FlatOutAsync(TimeSpan length, CancellationToken stop) => RunAsync(0, length, stop);

    private async Task<Slice> RunAsync(double rate, TimeSpan length, CancellationToken stop)
    {
        var line = string.Create(CultureInfo.InvariantCulture, $"{rate} {length.TotalSeconds}");
        var answer = "";
        var slice = await WatchedAsync(async () =>
        {
            answer = await Server.AskAsync(line, stop);
            return new Slice();
        });
        var runs = JsonSerializer.Deserialize<OrtRuns>(answer)!;

        // Of the runs alone: waiting for the next one is not theirs.
        slice.Cpu = runs.Cpu;
        slice.Elapsed = TimeSpan.FromMicroseconds(runs.Elapsed / 1_000.0);
        foreach (var nanos in runs.Runs)
        {
            slice.AddRun(nanos);
        }

        return slice;
    }
}
