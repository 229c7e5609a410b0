using Google.Protobuf;
using SafetyFilter.Audit;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Policy;
using SafetyFilter.Tests.Filtering;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Audit;

/// <summary>Records in memory, as a ledger.</summary>
internal sealed class ListSource(IEnumerable<(RecordType Type, byte[] Record)> records) : ILedgerSource
{
    public static ListSource Of(params IEnumerable<DecisionRecord> records) => new(records.Select(static record => (RecordType.Decision, record.ToByteArray())));

    public string? Read(RecordVisitor visit, DamageVisitor damaged, CancellationToken stop)
    {
        foreach (var (type, record) in records)
        {
            visit("list", 0, type, record);
        }

        return null;
    }
}

/// <summary>What the real engine decided over random requests, under a policy with all there is in policies.</summary>
internal static class AuditBench
{
    public static readonly string Rich = EngineBench.Policy(
        "{ numbers/alpha: { fail: open }, numbers/beta: { fail: closed }, roots/gamma: { fail: open } }",
        """

          - { id: both, when: { all: [ { score: numbers/alpha, at_least: 0.4 }, { score: roots/gamma, above: 0.3 } ] }, action: block, reason: B, severity: high }
          - { id: new-creator, when: { all: [ { score: numbers/beta, at_least: 0.5 }, { attribute: tier, in: [new] } ] }, action: { demote: 0.5 }, reason: N }
          - { id: young, when: { all: [ { score: numbers/beta, at_least: 0.3 }, { viewer: age_band, in: ["13-17"] } ] }, action: { age-restrict: 18 }, reason: Y }
          - { id: english, when: { all: [ { language: [en] }, { score: roots/gamma, at_least: 0.6 } ] }, action: { label: loud }, reason: E }
          - { id: aged, when: { all: [ { attribute: age_days, below: 7 }, { attribute: verified, is: true } ] }, action: { label: fresh }, reason: A }
          - { id: rehearsal, when: { score: numbers/alpha, at_least: 0.2 }, action: block, reason: S, shadow: true }
        """);

    /// <summary>The same requests for the same seed.</summary>
    public static void Decide(EngineBench bench, int requests, int seed = 1)
    {
        for (var i = 0; i < requests; i++)
        {
            var (request, candidates) = Request(new Random(seed + i), i);
            Assert.Null(bench.Decide(EngineBench.Request(request, candidates), out _));
        }
    }

    public static PolicyArchive Archive(params string[] policies)
    {
        var archive = new PolicyArchive();
        foreach (var policy in policies)
        {
            archive.Add(new PolicySource("p.yaml", policy));
        }

        Assert.Empty(archive.Problems);
        return archive;
    }

    public static ReplayReport Replay(ILedgerSource source, PolicyArchive policies, BundleArchive? bundles = null, int workers = 1, SealOpener? open = null)
    {
        var report = new ReplayReport(1000);
        using var none = new BundleArchive();
        var scan = new DecisionScan<ReplayWork>(
            source, workers, () => new ReplayWork(policies, bundles ?? none, open, 1000), work => report.Take(work.Report))
        {
            Other = (type, record) =>
            {
                if (type == RecordType.Activation)
                {
                    policies.AddActivation(record);
                }
            },
        };
        Assert.Null(scan.Run(CancellationToken.None));
        return report;
    }

    public static string Describe(ReplayReport report) => string.Join('\n', [
        .. report.Differences.Select(static one => one.ToString()), .. report.NotRecomputable.Select(static miss => $"{miss.Key}: {miss.Value.First.Text}")]);

    private static (Action<BatchBuilder> Request, int Candidates) Request(Random random, int number)
    {
        var count = random.Next(1, 90);
        var rows = Enumerable.Range(0, count).ToArray();
        return (
            request =>
            {
                request
                    .Request($"request-{number}", surface: random.Next(2) == 0 ? "feed" : "home")
                    .Tensor("embedding", [.. rows.Select(_ => new[] { random.NextSingle() * 2 - 1, random.NextSingle() * 2 - 1 })])
                    .Viewer("DE", ageBand: random.Next(2) == 0 ? "13-17" : "", experiment: "x");
                if (random.Next(5) > 0)
                {
                    request.Tensor("root", DataType.Float32, [1], [.. rows.Select(_ => random.Next(5) == 0 ? null : new[] { random.NextSingle() * 1.3f - 0.3f })]);
                }

                if (random.Next(4) > 0)
                {
                    request
                        .Attribute("tier", [.. rows.Select(_ => random.Next(2) == 0 ? "new" : "old")])
                        .Attribute("age_days", [.. rows.Select(_ => random.Next(3) == 0 ? double.NaN : random.Next(20))])
                        .Attribute("verified", [.. rows.Select(_ => random.Next(2) == 0)])
                        .Languages([.. rows.Select(_ => random.Next(2) == 0 ? "en" : "de")])
                        .Versions([.. rows.Select(static row => $"v{row}")]);
                }
            },
            count);
    }
}
