using BenchmarkDotNet.Attributes;

namespace SafetyFilter.Benchmarks.Micro;

/// <summary>The engine from columns to the record in the spool: scores, policy, digests, encoding and append.</summary>
/// <remarks>Nothing in a spool is deleted while Kafka is off, so the number of calls is bounded.</remarks>
[InvocationCount(512)]
public class EngineBenchmarks
{
    private EngineScene _scene = null!;

    [Params(MicroRequests.E256, MicroRequests.T64)]
    public string Workload { get; set; } = "";

    [GlobalSetup]
    public void SetUp() => _scene = new EngineScene(Workload);

    [GlobalCleanup]
    public void CleanUp() => _scene.Dispose();

    [Benchmark]
    public int Decide() => _scene.Decide();
}
