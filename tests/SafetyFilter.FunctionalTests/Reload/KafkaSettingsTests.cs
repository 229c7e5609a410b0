using SafetyFilter.FunctionalTests.Kafka;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.FunctionalTests.Reload;

public sealed class KafkaSettingsTests : IDisposable
{
    private readonly KafkaUnderTest _kafka = new();

    public void Dispose() => _kafka.Dispose();

    [Fact]
    public async Task Edit_KafkaSettingsWhilePublishing_GoesOnInOrderAndLeavesNothingOut()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(
            Linger(20),
            ("Ledger__Kafka__BootstrapServers", _kafka.BootstrapServers), ("Ledger__Kafka__Topic", _kafka.Topic), ("Ledger__Kafka__CheckpointTopic", _kafka.CheckpointTopic));
        var asked = 0;
        for (var edit = 1; edit <= 3; edit++)
        {
            reloading.WriteSettings(Linger(edit));
            var changes = edit;
            await ReloadingSidecar.UntilAsync(
                async () =>
                {
                    await reloading.AskAsync();
                    asked++;
                    return reloading.Sidecar.Output.Count(static line => line.Contains("\"EventId\":4017", StringComparison.Ordinal)) == changes;
                },
                "the publisher goes on with other settings");
        }

        for (var i = 0; i < 20; i++, asked++)
        {
            await reloading.AskAsync();
        }

        Assert.Equal(3, reloading.Changes().Count);
        Assert.Equal(0, await reloading.Sidecar.StopAsync());

        // A record may come twice where a producer was closed; the first time each comes, the stream is whole and in order.
        var sequences = new List<ulong>();
        var decisions = 0;
        foreach (var message in _kafka.ConsumeAll())
        {
            // Every record ends with its sequence.
            var sequence = BitConverter.ToUInt64(message.Message.Value.AsSpan()[^8..]);
            if (sequences.Count == 0 || sequence > sequences[^1])
            {
                sequences.Add(sequence);
                decisions += System.Text.Encoding.UTF8.GetString(message.Message.Headers.GetLastBytes("ce_type")) == "safetyfilter.decision.v1" ? 1 : 0;
            }
        }

        Assert.Equal(Enumerable.Range(1, sequences.Count).Select(static number => (ulong)number), sequences);
        Assert.Equal(asked, decisions);
    }

    [Fact]
    public async Task Edit_KafkaSettingThatNoProducerTakes_IsRefused()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(
            Linger(20),
            ("Ledger__Kafka__BootstrapServers", _kafka.BootstrapServers), ("Ledger__Kafka__Topic", _kafka.Topic), ("Ledger__Kafka__CheckpointTopic", _kafka.CheckpointTopic));
        reloading.WriteSettings(new { Ledger = new { Kafka = new { Producer = new Dictionary<string, string>(StringComparer.Ordinal) { ["sasl.pasword"] = "hunter2" } } } });
        await ReloadingSidecar.UntilAsync(() => Task.FromResult(reloading.Changes().Count == 1), "the setting is refused");

        var change = reloading.Changes()[0];
        Assert.Equal(Change.Types.Outcome.Refused, change.Outcome);
        Assert.Contains("sasl.pasword", Assert.Single(change.Errors), StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", reloading.Changes()[0].ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain(reloading.Sidecar.Output, static line => line.Contains("hunter2", StringComparison.Ordinal));
    }

    private static object Linger(int milliseconds) => new { Ledger = new { Kafka = new { Linger = TimeSpan.FromMilliseconds(milliseconds).ToString() } } };
}
