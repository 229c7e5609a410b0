using BenchmarkDotNet.Attributes;
using SafetyFilter.Benchmarks.Ledger;
using SafetyFilter.Ledger;

namespace SafetyFilter.Benchmarks.Micro;

/// <summary>An append of 3 KB on the request's thread. Behind it segments are made, synchronised and signed, which the process pays for.</summary>
/// <remarks>Nothing in a spool is deleted while Kafka is off, so the number of calls is bounded.</remarks>
[InvocationCount(4096)]
public class SpoolBenchmarks
{
    private DirectoryInfo _folder = null!;
    private Spool _spool = null!;
    private byte[] _body = [];

    [GlobalSetup]
    public void SetUp()
    {
        _folder = Directory.CreateTempSubdirectory("safetyfilter-micro-");
        _spool = Spool.Open(new SpoolOptions { Folder = _folder.FullName, AppendPatience = TimeSpan.FromSeconds(10) }, "benchmark", TimeProvider.System);
        _body = Records.Body(_spool, 3_000);
    }

    [GlobalCleanup]
    public void CleanUp()
    {
        _spool.Dispose();
        _folder.Delete(recursive: true);
    }

    [Benchmark]
    public int Append() => _spool.Append(RecordType.Decision, _body, out var receipt) is var result && result == AppendResult.Appended
        ? (int)receipt.Sequence
        : throw new InvalidOperationException($"The spool took no record: {result}.");
}
