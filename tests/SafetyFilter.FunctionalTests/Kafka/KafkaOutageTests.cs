using System.Diagnostics;
using System.Globalization;
using SafetyFilter.Client;

namespace SafetyFilter.FunctionalTests.Kafka;

/// <summary>All brokers of a serving sidecar are gone for a minute.</summary>
public sealed class KafkaOutageTests(ITestOutputHelper output) : IDisposable
{
    private const long MostGrowth = 64L << 20;
    private static readonly TimeSpan Outage = TimeSpan.FromMinutes(1);

    // 400 requests a second. Compressed, what a minute of them brings fits the 5 MiB that the mock keeps.
    private const int Burst = 8;
    private const double LeastRequestsPerSecond = 100;
    private static readonly TimeSpan BetweenBursts = TimeSpan.FromMilliseconds(20);

    private readonly KafkaUnderTest _kafka = new(partitions: 1);

    public void Dispose() => _kafka.Dispose();

    [Fact]
    public async Task Serve_BrokersDownForAMinute_AnswersAllLosesNothingAndKeepsItsMemory()
    {
        var mock = _kafka.Mock;
        await using var sidecar = await SidecarProcess.StartAsync(
            ("Ledger__Kafka__BootstrapServers", _kafka.BootstrapServers),
            ("Ledger__Kafka__Topic", _kafka.Topic),
            ("Ledger__Kafka__Compression", "zstd"),
            ("Ledger__Kafka__Producer__reconnect.backoff.max.ms", "500"),
            ("Drain__Flush", "00:01:00"));
        using var client = sidecar.Client();

        // What the same load takes while Kafka is up is no growth.
        var (answered, before, _) = await LoadAsync(sidecar, client, TimeSpan.FromSeconds(15));

        mock.TakeDown();
        var (during, peak, samples) = await LoadAsync(sidecar, client, Outage);
        mock.BringUp();
        Assert.Equal(0, await sidecar.StopAsync());

        output.WriteLine($"{during / Outage.TotalSeconds:0} requests/s; {before >> 20} MiB before, at most {peak >> 20} MiB in {samples} samples of the outage");
        Assert.True(during >= LeastRequestsPerSecond * Outage.TotalSeconds, $"{during} requests in {Outage} are no load.");
        Assert.InRange(peak - before, long.MinValue, MostGrowth);
        answered += during;
        var sequences = _kafka.ConsumeAll().ConvertAll(static message => SafetyFilter.Ledger.RecordFields.Trailer(message.Message.Value));
        Assert.Equal(Enumerable.Range(1, sequences.Count).Select(static number => (ulong)number), sequences);
        Assert.True(sequences.Count >= answered + 2, $"{answered} answers, {sequences.Count} records");
    }

    /// <summary>Bursts of requests; memory is looked at after each.</summary>
    private static async Task<(int Answered, long Peak, int Samples)> LoadAsync(SidecarProcess sidecar, SafetyFilterClient client, TimeSpan time)
    {
        var (answered, peak, samples) = (0, 0L, 0);
        using var timer = new PeriodicTimer(BetweenBursts);
        for (var since = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(since) < time; samples++)
        {
            await Task.WhenAll(Enumerable.Range(0, Burst).Select(_ => AskAsync(client)));
            answered += Burst;
            peak = Math.Max(peak, PrivateBytes(sidecar.ProcessId));
            await timer.WaitForNextTickAsync(TestContext.Current.CancellationToken);
        }

        return (answered, peak, samples);
    }

    private static async Task AskAsync(SafetyFilterClient client)
    {
        var query = new FilterQuery { Surface = "for-you" };
        query.AddCandidate("video:1", "v1", "en").Text("text", "Ten quiet walks in the Alps");
        await client.FilterAsync(query, TestContext.Current.CancellationToken);
    }

    // Without the mapped segments: those are the disk's.
    private static long PrivateBytes(int process)
    {
        var line = File.ReadLines($"/proc/{process}/status").First(static line => line.StartsWith("RssAnon:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture) * 1024;
    }
}
