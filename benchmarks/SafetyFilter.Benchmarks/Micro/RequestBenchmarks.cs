using BenchmarkDotNet.Attributes;

namespace SafetyFilter.Benchmarks.Micro;

/// <summary>The steps of a request that touch no disk, each alone on a request that has been decided.</summary>
public class RequestBenchmarks
{
    private EngineScene _scene = null!;

    [Params(MicroRequests.E256, MicroRequests.T64)]
    public string Workload { get; set; } = "";

    [GlobalSetup]
    public void SetUp() => _scene = new EngineScene(Workload);

    [GlobalCleanup]
    public void CleanUp() => _scene.Dispose();

    /// <summary>The message's bytes to columns, checked.</summary>
    [Benchmark]
    public int ReadRequest() => _scene.Read();

    /// <summary>Ten rules over the columns of scores.</summary>
    [Benchmark]
    public int DecidePolicy()
    {
        var decision = _scene.Decision;
        _scene.Policy.Decide(decision.Batch, decision.Scores, decision.TimeUnixNanos / 1_000_000, decision.Verdicts);
        return decision.Verdicts.Actions.Length;
    }

    [Benchmark]
    public int EncodeRecord() => _scene.Encode();

    [Benchmark]
    public int WriteResponse() => _scene.Write();
}
