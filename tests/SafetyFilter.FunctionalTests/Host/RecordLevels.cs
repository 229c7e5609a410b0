using Grpc.Core;
using Grpc.Health.V1;
using SafetyFilter.Client;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using LedgerReceipt = SafetyFilter.Client.LedgerReceipt;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>What the caller of one page was told.</summary>
internal sealed record Answer(string RequestId, Status Status, LedgerReceipt? Receipt)
{
    /// <summary>The code of a refusal, or what the receipt says.</summary>
    public string Outcome => Receipt is { } receipt ? receipt.Durability + (receipt.Pending ? " pending" : "") : Status.StatusCode.ToString();
}

/// <summary>A folder with a policy for each way of recording, on a surface of its own; and what asking these surfaces answers.</summary>
internal sealed class RecordLevels : IDisposable
{
    /// <summary>What <see cref="AskAsync"/> asks: by calls of their own, and over a stream.</summary>
    public const int Asked = 6;

    /// <summary>Candidates of each page.</summary>
    public const int Candidates = 3;

    private readonly DirectoryInfo _policies = Directory.CreateTempSubdirectory("sf-levels-");

    /// <param name="surfaces">Names of surfaces, and what stands in the <c>record:</c> block of their policies.</param>
    public RecordLevels(params ReadOnlySpan<(string Surface, string Record)> surfaces)
    {
        foreach (var (surface, record) in surfaces)
        {
            File.WriteAllText(Path.Combine(_policies.FullName, surface + ".yaml"), $$"""
                policy: {{surface}}
                owner: tests
                surfaces: [{{surface}}]
                budget_us: 1000000
                classifiers: { text-safety/spam: { fail: open } }
                rules:
                  - { id: demote-spam, when: { score: text-safety/spam, at_least: 0.9 }, action: { demote: 0.5 }, reason: SPAM }
                record: { {{record}} }
                """);
        }
    }

    public (string, string) Setting => ("Policies__Folder", _policies.FullName);

    /// <summary>Room for two segments and no third, and little else that records.</summary>
    public IEnumerable<(string, string)> SmallSpool(int memory) =>
    [
        Setting,
        ("Ledger__Spool__SegmentBytes", "65536"), ("Ledger__Spool__MaxRecordBytes", "16384"), ("Ledger__Spool__MaxBytes", "196608"),
        ("Ledger__Spool__MemoryBacklogBytes", $"{memory}"), ("Ledger__Spool__WarnFreeBytes", "0"),

        // A segment that is late on a busy machine is not what these tests are about.
        ("Ledger__Spool__AppendPatience", "00:00:10"),
    ];

    public void Dispose() => _policies.Delete(recursive: true);

    /// <summary>Asks half of <see cref="Asked"/> each way.</summary>
    public static async Task<List<Answer>> AskAsync(SidecarProcess sidecar, string surface)
    {
        using var client = sidecar.Client();
        var answers = new List<Answer>();
        for (var number = 0; number < Asked / 2; number++)
        {
            answers.Add(await CallAsync(client, Page($"{surface}-call-{number}", surface, Candidates)));
        }

        await foreach (var reply in client.StreamAsync(Pages(surface), TestContext.Current.CancellationToken))
        {
            answers.Add(new Answer(reply.RequestId, reply.Status, reply.Result?.Receipt));
        }

        Assert.Equal(Asked, answers.Count);
        return answers;
    }

    /// <summary>Asks with the smallest page until the sidecar refuses because nothing fits any more.</summary>
    public static async Task FillAsync(SidecarProcess sidecar, string surface)
    {
        using var client = sidecar.Client();
        for (var number = 0; number < 5000; number++)
        {
            var answer = await CallAsync(client, Page("fill", surface, 1));
            if (answer.Receipt is null)
            {
                Assert.Equal(StatusCode.Unavailable, answer.Status.StatusCode);
                return;
            }
        }

        Assert.Fail("The spool did not fill.");
    }

    public static async Task<bool> IsServingAsync(SidecarProcess sidecar)
    {
        using var wire = Wire.Unix(sidecar.UnixSocket);
        var answer = await new Health.HealthClient(wire.Channel).CheckAsync(new HealthCheckRequest(), cancellationToken: TestContext.Current.CancellationToken);
        return answer.Status == HealthCheckResponse.Types.ServingStatus.Serving;
    }

    public static List<Loss> Losses(IEnumerable<SpoolRecord> records) =>
        [.. records.Where(static record => record.Type == RecordType.Loss).Select(static record => Loss.Parser.ParseFrom(record.Bytes))];

    public static async Task<Answer> CallAsync(SafetyFilterClient client, FilterQuery query)
    {
        try
        {
            var result = await client.FilterAsync(query, TestContext.Current.CancellationToken);
            return new Answer(result.RequestId, Status.DefaultSuccess, result.Receipt);
        }
        catch (RpcException error)
        {
            return new Answer(query.RequestId, error.Status, null);
        }
    }

    public static FilterQuery Page(string id, string surface, int candidates)
    {
        var query = new FilterQuery { RequestId = id, Surface = surface };
        for (var row = 0; row < candidates; row++)
        {
            query.AddCandidate($"video:{row}").Text("text", "Ten quiet walks in the Alps");
        }

        return query;
    }

    private static async IAsyncEnumerable<FilterQuery> Pages(string surface)
    {
        for (var number = 0; number < Asked / 2; number++)
        {
            yield return Page($"{surface}-stream-{number}", surface, Candidates);
            await Task.Yield();
        }
    }
}
