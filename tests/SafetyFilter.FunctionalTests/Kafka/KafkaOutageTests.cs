using System.Globalization;
using SafetyFilter.Client;

namespace SafetyFilter.FunctionalTests.Kafka;

/// <summary>All brokers of a serving sidecar are gone for a minute.</summary>
public sealed class KafkaOutageTests : IDisposable
{
    private const long MostGrowth = 64L << 20;
    private static readonly TimeSpan Outage = TimeSpan.FromMinutes(1);

    // What a minute brings must fit the 5 MiB that the mock keeps.
    private static readonly TimeSpan BetweenRequests = TimeSpan.FromMilliseconds(10);

    private readonly KafkaUnderTest _kafka = new(partitions: 1);

    public void Dispose() => _kafka.Dispose();

    [Fact]
    public async Task Serve_BrokersDownForAMinute_AnswersAllLosesNothingAndKeepsItsMemory()
    {
        var mock = _kafka.Mock;
        await using var sidecar = await SidecarProcess.StartAsync(
            ("Ledger__Kafka__BootstrapServers", _kafka.BootstrapServers),
            ("Ledger__Kafka__Topic", _kafka.Topic),
            ("Ledger__Kafka__Producer__reconnect.backoff.max.ms", "500"),
            ("Drain__Flush", "00:01:00"));
        using var client = sidecar.Client();
        var answered = await AskAsync(client, TimeSpan.FromSeconds(5));

        mock.TakeDown();
        var before = PrivateBytes(sidecar.ProcessId);
        answered += await AskAsync(client, Outage);
        var growth = PrivateBytes(sidecar.ProcessId) - before;
        mock.BringUp();
        Assert.Equal(0, await sidecar.StopAsync());

        var sequences = _kafka.ConsumeAll().ConvertAll(static message => SafetyFilter.Ledger.RecordFields.Trailer(message.Message.Value));
        Assert.Equal(Enumerable.Range(1, sequences.Count).Select(static number => (ulong)number), sequences);
        Assert.True(sequences.Count >= answered + 2, $"{answered} answers, {sequences.Count} records");
        Assert.InRange(growth, long.MinValue, MostGrowth);
    }

    private static async Task<int> AskAsync(SafetyFilterClient client, TimeSpan time)
    {
        var answered = 0;
        using var timer = new PeriodicTimer(BetweenRequests);
        for (var until = DateTime.UtcNow + time; DateTime.UtcNow < until; answered++)
        {
            var query = new FilterQuery { Surface = "for-you" };
            query.AddCandidate("video:1", "v1", "en").Text("text", "Ten quiet walks in the Alps");
            await client.FilterAsync(query, TestContext.Current.CancellationToken);
            await timer.WaitForNextTickAsync(TestContext.Current.CancellationToken);
        }

        return answered;
    }

    // Without the mapped segments: those are the disk's.
    private static long PrivateBytes(int process)
    {
        var line = File.ReadLines($"/proc/{process}/status").First(static line => line.StartsWith("RssAnon:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture) * 1024;
    }
}
