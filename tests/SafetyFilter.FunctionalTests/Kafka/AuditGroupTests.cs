using System.Text.Json;
using System.Text.RegularExpressions;
using SafetyFilter.Cli;
using SafetyFilter.FunctionalTests.Decisions;
using SafetyFilter.FunctionalTests.Host;

namespace SafetyFilter.FunctionalTests.Kafka;

/// <summary>A topic that the streams of several real sidecars share, and a copy of their policies.</summary>
public sealed class TopicOfSeveralStreams : IAsyncLifetime
{
    public const int Streams = 3;
    public const int DecisionsEach = 4;

    internal KafkaUnderTest Kafka { get; } = new(partitions: 16);

    internal DirectoryInfo Folder { get; } = Directory.CreateTempSubdirectory("sf-group-");

    /// <summary>A copy of the kids policy that restricts more.</summary>
    internal string Stricter => Path.Combine(Folder.FullName, "stricter.yaml");

    public async ValueTask InitializeAsync() => await Task.WhenAll(Enumerable.Range(0, Streams).Select(DecideAsync));

    public ValueTask DisposeAsync()
    {
        Kafka.Dispose();
        Folder.Delete(recursive: true);
        return ValueTask.CompletedTask;
    }

    private async Task DecideAsync(int number)
    {
        await using var sidecar = await SidecarProcess.StartAsync(
            ("Ledger__Kafka__BootstrapServers", Kafka.BootstrapServers), ("Ledger__Kafka__Topic", Kafka.Topic), ("Ledger__Kafka__CheckpointTopic", Kafka.CheckpointTopic));
        using (var channel = sidecar.Channel())
        {
            var client = new SafetyFilter.V1.SafetyFilter.SafetyFilterClient(channel);
            for (var i = 0; i < DecisionsEach; i++)
            {
                await client.FilterAsync(Pages.Kids($"{number}-{i}", seed: number * DecisionsEach + i, count: 20), cancellationToken: TestContext.Current.CancellationToken);
            }
        }

        Assert.Equal(0, await sidecar.StopAsync());
        if (number == 0)
        {
            var kids = await File.ReadAllTextAsync(Path.Combine(sidecar.Folder, "policies", "kids.yaml"));
            await File.WriteAllTextAsync(Stricter, Regex.Replace(kids, "at_least: [0-9.]+", "at_least: 0.01", RegexOptions.None, TimeSpan.FromSeconds(1)));
        }
    }
}

/// <summary>Two workers at once in one consumer group tell together what one tells alone.</summary>
public sealed class AuditGroupTests(TopicOfSeveralStreams topic) : IClassFixture<TopicOfSeveralStreams>
{
    private const int Decisions = TopicOfSeveralStreams.Streams * TopicOfSeveralStreams.DecisionsEach;

    [Fact]
    public async Task Verify_TwoWorkers_VerifyTheTopicBetweenThem()
    {
        var (alone, shared) = await AskAsync("verified", "verify");

        AssertSums(alone, shared, "records", "decisions", "candidates", "repeats", "finding_count");
        Assert.All(shared, static one => Assert.True(one.GetProperty("verified").GetBoolean()));
        Assert.Equal(TopicOfSeveralStreams.Streams, shared.Sum(static one => one.GetProperty("streams").GetArrayLength()));
    }

    [Fact]
    public async Task Replay_TwoWorkers_RecomputeEveryDecisionOnce()
    {
        var (alone, shared) = await AskAsync("replayed", "replay");

        AssertSums(alone, shared, "decisions", "candidates", "equal_decisions", "repeats");
        Assert.All(shared, static one => Assert.True(one.GetProperty("equal").GetBoolean()));
    }

    [Fact]
    public async Task WhatIf_TwoWorkers_CountTheSameChanges()
    {
        var (alone, shared) = await AskAsync("read", "whatif", "--policy", topic.Stricter);

        Assert.True(alone.GetProperty("changed").GetInt32() > 0);
        AssertSums(alone, shared, "decisions", "candidates", "changed");
    }

    [Fact]
    public async Task Export_TwoWorkers_WriteTheSameRows()
    {
        var folder = topic.Folder.CreateSubdirectory("alone").FullName;
        var (alone, shared) = await AskAsync("exported", "export", "--format", "jsonl", "--out", Path.Combine(folder, "rows.jsonl"));

        AssertSums(alone, shared, "decisions", "candidates", "unreadable");
        Assert.Equal(Rows([alone]), Rows(shared));
        Assert.All(shared.SelectMany(static one => one.GetProperty("paths").EnumerateArray()), static path => Assert.Matches(@"rows\.\d+\.jsonl$", path.GetString()));

        static IEnumerable<string> Rows(IEnumerable<JsonElement> told) =>
            told.SelectMany(static one => one.GetProperty("paths").EnumerateArray()).SelectMany(static path => File.ReadLines(path.GetString()!)).Order(StringComparer.Ordinal);
    }

    /// <summary>Alone, then by two workers at once. A worker that was given nothing tells nothing.</summary>
    private async Task<(JsonElement Alone, List<JsonElement> Shared)> AskAsync(string finished, params string[] question)
    {
        string[] command = [.. question, "--json", "--topic", topic.Kafka.Topic, "--bootstrap-servers", topic.Kafka.BootstrapServers, "--kafka-setting", "session.timeout.ms=6000"];
        var alone = Run(command);
        Assert.True(alone.Output is not null, alone.Error);
        string[] worker = [.. command, "--group", $"{question[0]}-{Guid.NewGuid():N}"];
        var runs = await Task.WhenAll(Task.Run(() => Run(worker)), Task.Run(() => Run(worker)));

        Assert.All(runs.Where(static run => run.Output is null), static run => Assert.True(run.Error.Contains("has nothing for this worker", StringComparison.Ordinal), run.Error));
        var shared = runs.Where(static run => run.Output is not null).Select(static run => run.Output!.Value).ToList();
        var partitions = shared.SelectMany(one => one.GetProperty("partitions").GetProperty(finished).EnumerateArray()).Select(static one => one.GetInt32()).ToList();
        Assert.Equal(topic.Kafka.ConsumeAll().Select(static message => message.Partition.Value).Distinct().Order(), partitions.Order());
        Assert.Equal(Decisions, alone.Output.Value.GetProperty("decisions").GetInt32());
        return (alone.Output.Value, shared);
    }

    private static void AssertSums(JsonElement alone, List<JsonElement> shared, params string[] counts) =>
        Assert.All(counts, count => Assert.Equal(alone.GetProperty(count).GetInt64(), shared.Sum(one => one.GetProperty(count).GetInt64())));

    private static (JsonElement? Output, string Error) Run(string[] arguments)
    {
        var output = new StringWriter();
        var error = new StringWriter();
        var code = AuditCommand.Create().Parse(arguments).Invoke(new() { Output = output, Error = error });
        if (code == AuditCommand.Unreadable)
        {
            return (null, error.ToString());
        }

        using var told = JsonDocument.Parse(output.ToString());
        return (told.RootElement.Clone(), error.ToString());
    }
}
