using Grpc.Core;
using SafetyFilter.Client;
using SafetyFilter.FunctionalTests.Kafka;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Observability;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>The levels as callers meet them when the spool has no room, and what the ledger admits afterwards.</summary>
public sealed class FullLedgerTests : IDisposable
{
    private static readonly int[] Expected = [EventIds.LedgerRefused, EventIds.LedgerServedLost, EventIds.LedgerNoSpare, EventIds.LedgerNotaryTroubled, EventIds.LedgerEndNotSigned];

    private readonly RecordLevels _levels = new(
        ("refuse", "full: refuse"),
        ("serve", "full: serve"),
        ("memory", "durability: memory"),
        ("process", "durability: process"),
        ("disk", "durability: disk"),
        ("strict", "late: refuse"));

    public void Dispose() => _levels.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Filter_NoRoom_RefusesOrServesAndAdmitsEveryAnswerServed(bool killed)
    {
        await using var sidecar = await StartAsync(memory: 0);
        await RecordLevels.FillAsync(sidecar, "refuse");
        var refused = await RecordLevels.AskAsync(sidecar, "refuse");
        Assert.All(refused, static answer => Assert.Equal(StatusCode.Unavailable, answer.Status.StatusCode));
        Assert.All(refused, static answer => Assert.Contains("cannot record", answer.Status.Detail, StringComparison.Ordinal));
        Assert.False(await RecordLevels.IsServingAsync(sidecar));

        var served = await RecordLevels.AskAsync(sidecar, "serve");
        Assert.All(served, AssertLost);
        var metrics = await Scraped.FromAsync(sidecar);
        Assert.Equal(RecordLevels.Asked, metrics.Value("safetyfilter_answers_lost", "surface=\"serve\""));
        Assert.Equal(RecordLevels.Asked, metrics.Value("safetyfilter_ledger_lost_total"));
        Assert.Equal(RecordLevels.Asked + 1, metrics.Value("safetyfilter_ledger_refused"));
        Assert.Equal(RecordLevels.Asked + 1, metrics.Value("safetyfilter_requests", "outcome=\"ledger_unavailable\""));
        Assert.Equal(1, metrics.Value("safetyfilter_ledger_troubled"));

        await EndAsync(sidecar, killed);
        await RestartWithRoomAsync(sidecar);
        Assert.All(await RecordLevels.AskAsync(sidecar, "serve"), static answer => Assert.Equal("Process", answer.Outcome));
        Assert.Equal(RecordLevels.Asked, (await Scraped.FromAsync(sidecar)).Value("safetyfilter_ledger_lost_total"));
        Assert.Equal(0, await sidecar.StopAsync());
        AssertAdmitted(SpoolRecords.Read(sidecar.Spool), RecordLevels.Asked);
        SpoolRecords.Verify(sidecar.Spool);
    }

    [Fact]
    public async Task Filter_NoSegmentButMemory_IsInMemoryAndAdmittedWhenAKillTakesIt()
    {
        await using var sidecar = await StartAsync(memory: 1 << 20);
        await RecordLevels.FillAsync(sidecar, "strict");
        var outcomes = new[] { ("memory", "Memory"), ("process", "Memory pending"), ("disk", "Memory pending"), ("strict", "Unavailable") };
        foreach (var (surface, outcome) in outcomes)
        {
            Assert.All(await RecordLevels.AskAsync(sidecar, surface), answer => Assert.Equal(outcome, answer.Outcome));
        }

        var metrics = await Scraped.FromAsync(sidecar);
        Assert.Equal(0, metrics.Value("safetyfilter_answers_pending", "surface=\"memory\""));
        Assert.Equal(RecordLevels.Asked, metrics.Value("safetyfilter_answers_pending", "surface=\"process\"", "reached=\"memory\""));
        Assert.Equal(RecordLevels.Asked, metrics.Value("safetyfilter_answers_pending", "surface=\"disk\"", "reached=\"memory\""));
        Assert.True(metrics.Value("safetyfilter_ledger_backlog") > 0);

        await EndAsync(sidecar, killed: true);
        await RestartWithRoomAsync(sidecar);
        Assert.Equal(0, await sidecar.StopAsync());
        AssertAdmitted(SpoolRecords.Read(sidecar.Spool), RecordLevels.Asked * 3);
        SpoolRecords.Verify(sidecar.Spool);
    }

    [Fact]
    public async Task Filter_KafkaWasDownUntilTheSpoolWasFull_ServesOnAndAdmitsOnceKafkaHasEmptiedIt()
    {
        using var kafka = new KafkaUnderTest();
        var mock = kafka.Mock;
        mock.TakeDown();
        await using var sidecar = await StartAsync(
            memory: 0,
            [
                .. kafka.Sidecar,

                // The publisher deletes what a durable checkpoint covers, so the last segment needs one.
                ("Ledger__Signing__CheckpointRecords", "5"), ("Ledger__Spool__SyncInterval", "00:00:00.010"), ("Drain__Flush", "00:00:30"),
            ]);
        await RecordLevels.FillAsync(sidecar, "refuse");
        Assert.All(await RecordLevels.AskAsync(sidecar, "serve"), AssertLost);

        mock.BringUp();
        using (var client = sidecar.Client())
        {
            Answer? answer = null;
            using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(100));
            for (var attempt = 0; attempt < 600 && answer?.Receipt is null; attempt++)
            {
                await timer.WaitForNextTickAsync(TestContext.Current.CancellationToken);
                answer = await RecordLevels.CallAsync(client, RecordLevels.Page("again", "refuse", RecordLevels.Candidates));
            }

            Assert.Equal("Process", answer?.Outcome);
        }

        Assert.True(await RecordLevels.IsServingAsync(sidecar));
        Assert.Equal(0, await sidecar.StopAsync());
        var records = kafka.ConsumeAll().Select(static message => new SpoolRecord(TypeOf(message.Message), 1, 0, message.Message.Value));
        AssertAdmitted([.. records], RecordLevels.Asked);
    }

    private static void AssertLost(Answer answer)
    {
        Assert.Equal("Lost", answer.Outcome);
        var receipt = answer.Receipt!.Value;
        Assert.Equal((true, 0UL, 0, 1U), (receipt.IsLost, receipt.Sequence, receipt.LeafHash.Length, receipt.Epoch));
        Assert.NotEqual(Guid.Empty, receipt.StreamId);
    }

    /// <summary>That so many decisions are told to be lost: by Loss records, whether in one or in several, and by decision records.</summary>
    private static void AssertAdmitted(List<SpoolRecord> records, int decisions)
    {
        var losses = RecordLevels.Losses(records);
        Assert.NotEmpty(losses);
        Assert.Equal((ulong)decisions, losses[^1].TotalDecisions);
        Assert.Equal(decisions, losses.Sum(static loss => (long)loss.Decisions));
        Assert.Equal(decisions * RecordLevels.Candidates, losses.Sum(static loss => (long)loss.Candidates));
    }

    private static async Task EndAsync(SidecarProcess sidecar, bool killed)
    {
        if (killed)
        {
            await sidecar.KillAsync();
        }
        else
        {
            Assert.Equal(0, await sidecar.StopAsync());
        }
    }

    private Task RestartWithRoomAsync(SidecarProcess sidecar) =>
        sidecar.RestartAsync([.. _levels.SmallSpool(memory: 0), ("Ledger__Spool__MaxBytes", "0")]);

    private async Task<SidecarProcess> StartAsync(int memory, params (string, string)[] settings)
    {
        var sidecar = await SidecarProcess.StartAsync([.. _levels.SmallSpool(memory), .. settings]);
        sidecar.ExpectedErrors.UnionWith(Expected);
        return sidecar;
    }

    private static RecordType TypeOf(Confluent.Kafka.Message<byte[], byte[]> message) =>
        System.Text.Encoding.UTF8.GetString(message.Headers.GetLastBytes("ce_type")) switch
        {
            "safetyfilter.loss.v1" => RecordType.Loss,
            "safetyfilter.decision.v1" => RecordType.Decision,
            _ => RecordType.Checkpoint,
        };
}
