using System.Globalization;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>Measures one workload: starts its lanes, warms them, and has them take turns in short slices.</summary>
internal sealed class WorkloadRun(ServiceOptions options, Workload workload, ItemSet items, string models, TextWriter progress)
{
    // A lane is warm when two bursts in a row cost no less than those before, and it has answered enough for the compiler to have seen all
    // of its ways. On a busy machine that takes longer than any fixed time.
    private const int MostBursts = 20;
    private const int CalmBursts = 2;
    private const int LeastAnswers = 3_000;
    private const double Gain = 0.97;
    private const double ShareOfSaturation = 0.5;

    // Tier-1 code is made in the background once calls have paused for 100 ms.
    private static readonly TimeSpan BetweenBursts = TimeSpan.FromMilliseconds(300);

    private readonly List<Lane> _lanes = [];
    private readonly List<RequestPool> _pools = [];

    public async Task<WorkloadResult> RunAsync(CancellationToken stop)
    {
        var root = Directory.CreateTempSubdirectory("sf-bench-");
        try
        {
            var sidecar = await StartAsync(new LaneStart(options, root.FullName, models, stop), stop);
            var results = _lanes.Select(lane => new LaneResult(lane)).ToArray();
            var saturation = (await sidecar.FlatOutAsync(options.WarmUp, stop)).Throughput;
            var rate = options.Rate ?? Round(saturation * ShareOfSaturation);

            // A second pass over the same pages would be all hits, and no popularity any more.
            var pass = TimeSpan.FromSeconds(_pools[0].Requests.Length / rate);
            var length = workload.Repeats && pass < options.Slice ? pass : options.Slice;
            for (var round = 0; round < options.Pairs; round++)
            {
                Say($"round {round + 1} of {options.Pairs} at {rate} requests/s");
                _pools.ForEach(pool => pool.Turn(round + 1));

                // The requests of before are garbage: now, and not while something is measured.
                GC.Collect();
                await RoundAsync(results, round, rate, length, stop);
            }

            foreach (var result in results)
            {
                result.ResidentLoaded = result.Lane.Server.ResidentBytes;
            }

            await LadderAsync(results, saturation, stop);
            return new WorkloadResult(workload, rate, length, results);
        }
        finally
        {
            foreach (var lane in _lanes)
            {
                await lane.DisposeAsync();
            }

            root.Delete(recursive: true);
        }
    }

    /// <summary>Two significant digits, so that a rate can be repeated.</summary>
    public static double Round(double rate) =>
        rate <= 0 ? 1 : double.Parse(rate.ToString("E1", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private async Task<GrpcLane> StartAsync(LaneStart start, CancellationToken stop)
    {
        Say("starting");
        var pool = Pool(workload);
        var program = ServerLaunch.Beside("SafetyFilter.Sidecar");
        GrpcLane? sidecar = null;
        foreach (var policy in workload.Policies)
        {
            sidecar ??= await AddAsync(start.SidecarAsync(LaneStart.Sidecar, program, policy, LaneRole.Subject, pool), stop);
            if (policy.Name.Length > 0)
            {
                await AddAsync(start.SidecarAsync($"{LaneStart.Sidecar}/{policy.Name}", program, policy, LaneRole.Subject, pool), stop);
            }
        }

        foreach (var (name, other) in options.Sidecars)
        {
            await AddAsync(start.SidecarAsync($"{LaneStart.Sidecar}/{name}", other, workload.Policies[0], LaneRole.OtherBuild, pool), stop);
        }

        if (workload.ComparedWith is { } compared)
        {
            await AddAsync(
                start.SidecarAsync($"{LaneStart.Sidecar}/{compared}", program, PolicyVariant.Plain, LaneRole.Compared, Pool(Workload.Named(compared)!)), stop);
        }

        if (options.External is { } command)
        {
            await AddAsync(start.ExternalAsync(command, pool), stop);
        }

        await AddAsync(start.GrpcFloorAsync(sidecar!, pool), stop);
        await AddAsync(start.OrtFloorAsync(workload), stop);
        return sidecar!;
    }

    private async Task<T> AddAsync<T>(Task<T> starting, CancellationToken stop)
        where T : Lane
    {
        var lane = await starting;
        _lanes.Add(lane);
        lane.IsWarm = await WarmUpAsync(lane, stop);
        return lane;
    }

    // False when it did not become warm, however long it took.
    private async Task<bool> WarmUpAsync(Lane lane, CancellationToken stop)
    {
        var (best, calm, answers) = (double.MaxValue, 0, 0L);
        for (var burst = 0; burst < MostBursts; burst++)
        {
            var slice = await lane.FlatOutAsync(options.WarmUp, stop);
            await Task.Delay(BetweenBursts, stop);
            answers += slice.Answered;
            calm = slice.CpuMicros > best * Gain ? calm + 1 : 0;
            best = Math.Min(best, slice.CpuMicros);
            if (calm >= CalmBursts && answers >= LeastAnswers)
            {
                return true;
            }
        }

        return false;
    }

    // Each round begins with another lane: whatever the machine does meanwhile meets all of them.
    private async Task RoundAsync(LaneResult[] results, int round, double rate, TimeSpan length, CancellationToken stop)
    {
        for (var turn = 0; turn < results.Length; turn++)
        {
            var result = results[(round + turn) % results.Length];
            result.Paced.Add(await result.Lane.PacedAsync(rate, length, stop));
        }

        for (var turn = 0; turn < results.Length; turn++)
        {
            var result = results[(round + turn) % results.Length];
            result.FlatOut.Add(await result.Lane.FlatOutAsync(options.FlatOut, stop));
        }
    }

    private async Task LadderAsync(LaneResult[] results, double saturation, CancellationToken stop)
    {
        foreach (var share in options.Ladder)
        {
            var rate = Round(saturation * share);
            Say($"ladder at {rate} requests/s");
            foreach (var result in results)
            {
                if (result.Lane.Role is LaneRole.Subject or LaneRole.OtherBuild or LaneRole.GrpcFloor)
                {
                    result.Ladder.Add((rate, await result.Lane.PacedAsync(rate, options.Slice, stop)));
                }
            }
        }
    }

    private RequestPool Pool(Workload of)
    {
        var pool = new RequestPool(items, of, options.Seed);
        _pools.Add(pool);
        return pool;
    }

    private void Say(string what) => progress.WriteLine($"{workload.Name}: {what}");
}
