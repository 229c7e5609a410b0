using System.Diagnostics;
using System.Globalization;
using SafetyFilter.Audit;
using SafetyFilter.Ledger;
using SafetyFilter.Tests.Filtering;

namespace SafetyFilter.Tests.Audit;

public sealed class ReplayBench(ITestOutputHelper output)
{
    /// <summary>Run it from a Release build: <c>-method '*ReplayBench*' -explicit only</c>.</summary>
    [Fact(Explicit = true)]
    public void Replay_OneCore_CandidatesPerSecond()
    {
        using var bench = new EngineBench(AuditBench.Rich, measured: false);
        AuditBench.Decide(bench, 4000);
        Assert.True(SpoolSource.TryOpen(bench.Ledger.StreamFolder, out var source, out _));
        var policies = AuditBench.Archive(AuditBench.Rich);
        foreach (var workers in (int[])[1, 1, 2])
        {
            AuditBench.Replay(source, policies, workers: workers);
            var since = Stopwatch.GetTimestamp();
            var candidates = 0L;
            for (var round = 0; round < 20; round++)
            {
                var report = AuditBench.Replay(source, policies, workers: workers);
                Assert.True(report.IsEqual(allowMissing: false));
                candidates += report.Candidates;
            }

            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"{workers} worker(s): {candidates / Stopwatch.GetElapsedTime(since).TotalSeconds:N0} candidates/s"));
        }
    }
}
