using System.Security.Cryptography;
using Confluent.Kafka;
using SafetyFilter.Client;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.FunctionalTests.Kafka;

/// <summary>The whole way: a ranker's call to the real sidecar process, its record on a topic.</summary>
public sealed class SidecarToKafkaTests : IDisposable
{
    private readonly KafkaUnderTest _kafka = new();

    public void Dispose() => _kafka.Dispose();

    [Fact]
    public async Task Stop_KafkaIsUp_EveryAnswerIsOnTheTopicAsItsReceiptSays()
    {
        await using var sidecar = await SidecarProcess.StartAsync(_kafka.Sidecar);
        var answers = await AskAsync(sidecar, 20);
        Assert.Equal(0, await sidecar.StopAsync());

        var messages = _kafka.ConsumeAll();
        Assert.Equal("safetyfilter.epoch-start.v1", TypeOf(messages[0]));
        Assert.Equal("safetyfilter.epoch-end.v1", TypeOf(messages[^1]));
        var byLeaf = messages.ToDictionary(static message => Convert.ToHexString(SHA256.HashData([0, .. message.Message.Value])), StringComparer.Ordinal);
        foreach (var answer in answers)
        {
            var record = DecisionRecord.Parser.ParseFrom(byLeaf[Convert.ToHexString(answer.Receipt.LeafHash.Span)].Message.Value);
            Assert.Equal(answer.Receipt.Sequence, record.Sequence);
            Assert.Equal(answer.RequestId, record.RequestId);
        }

        Assert.Equal(answers.Count, messages.Count(static message => TypeOf(message) == "safetyfilter.decision.v1"));
        Assert.Equal(
            messages.Where(static message => TypeOf(message) is "safetyfilter.epoch-start.v1" or "safetyfilter.checkpoint.v1" or "safetyfilter.epoch-end.v1").Select(static message => message.Message.Value),
            _kafka.ConsumeAll(_kafka.CheckpointTopic).Select(static message => message.Message.Value));
        Assert.Equal(4, messages.Count(static message => TypeOf(message) == "safetyfilter.activation.v1"));
    }

    [Fact]
    public async Task Restart_KafkaWasDownTheWholeRun_PublishesThatRunToo()
    {
        var mock = _kafka.Mock;
        mock.TakeDown();
        await using var sidecar = await SidecarProcess.StartAsync([.. _kafka.Sidecar, ("Drain__Flush", "00:00:00.100")]);
        var lost = await AskAsync(sidecar, 5);
        Assert.Equal(0, await sidecar.StopAsync());

        mock.BringUp();
        await sidecar.RestartAsync([.. _kafka.Sidecar, ("Drain__Flush", "00:00:30")]);
        var later = await AskAsync(sidecar, 5);
        Assert.Equal(0, await sidecar.StopAsync());

        var decided = _kafka.ConsumeAll()
            .Where(static message => TypeOf(message) == "safetyfilter.decision.v1")
            .Select(static message => DecisionRecord.Parser.ParseFrom(message.Message.Value).RequestId);
        Assert.Equal([.. lost.Select(static answer => answer.RequestId), .. later.Select(static answer => answer.RequestId)], decided);
    }

    private static async Task<List<FilterResult>> AskAsync(SidecarProcess sidecar, int requests)
    {
        using var client = sidecar.Client();
        var answers = new List<FilterResult>();
        for (var i = 0; i < requests; i++)
        {
            var query = new FilterQuery { Surface = "for-you" };
            query.AddCandidate("video:1", "v1", "en").Text("text", "Ten quiet walks in the Alps");
            answers.Add(await client.FilterAsync(query, TestContext.Current.CancellationToken));
        }

        return answers;
    }

    private static string TypeOf(ConsumeResult<byte[], byte[]> message) =>
        System.Text.Encoding.UTF8.GetString(message.Message.Headers.GetLastBytes("ce_type"));
}
