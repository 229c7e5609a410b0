using System.Diagnostics;
using SafetyFilter.FunctionalTests.Kafka;
using SafetyFilter.Ledger;
using SafetyFilter.Tests;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Faults;

/// <summary>kill -9 under load, again and again: what was answered is recorded.</summary>
public sealed class KillLoopTests(ITestOutputHelper output) : IDisposable
{
    private const int Seed = 20_26;

    // Each over a page of 16 candidates; over all the time in which the sidecar was there to be asked, connecting and dying included.
    private const double LeastDecisionsPerSecond = 2000;
    private readonly DirectoryInfo _policies = Directory.CreateTempSubdirectory("sf-kill-");
    private readonly Random _random = new(Seed);

    private static int Kills => LongRun.Count(20, 200);

    public void Dispose() => _policies.Delete(recursive: true);

    [Fact]
    public async Task Kill_UnderLoadAgainAndAgain_EveryAnswerIsInTheLedgerAsItsReceiptSays()
    {
        var load = new ReceiptLoad(candidates: 16);
        await using var sidecar = await SidecarProcess.StartAsync(Settings());
        var seconds = await KillAsync(sidecar, load, Kills, Settings());
        Assert.Equal(0, await sidecar.StopAsync());

        var (records, lost) = AnsweredAndRecorded.Check(sidecar.Spool, load.Receipts, killed: true);
        var inMemory = load.Receipts.Count(static receipt => receipt.Durability == Durability.Memory);
        var rate = (load.Answers - inMemory) / seconds;
        output.WriteLine(
            $"{Kills} kills, {load.Answers} answers in {seconds:0.0} s, {records} records; {rate:0} decisions/s at level process; " +
            $"{inMemory} answers said MEMORY, the kills took {lost} of those");
        Assert.Empty(load.Refused);
        Assert.True(rate >= LeastDecisionsPerSecond, $"{rate:0} decisions/s is too little load to prove anything: the machine is too busy, or the sidecar slow.");
    }

    [Fact]
    public async Task Kill_WhilePublishing_TheTopicHoldsEveryAnswerAndNothingButRepeatsBesides()
    {
        // The mock keeps 5 MiB of a partition: fewer requests, the same questions.
        const int FewKills = 6;
        using var kafka = new KafkaUnderTest();
        (string, string)[] settings =
        [
            .. Settings(), .. kafka.Sidecar, ("Ledger__Kafka__CheckpointTopic", ""), ("Ledger__Kafka__CursorInterval", "00:00:00.200"), ("Ledger__Spool__SegmentBytes", "1048576"),
            ("Ledger__Spool__MaxRecordBytes", "65536"), ("Drain__Flush", "00:00:30"),
        ];
        var load = new ReceiptLoad(streams: 1, inFlight: 2, candidates: 1);
        await using var sidecar = await SidecarProcess.StartAsync(settings);
        await KillAsync(sidecar, load, FewKills, settings, mostAnswers: 300);
        Assert.Equal(0, await sidecar.StopAsync());

        var leaves = new Dictionary<(uint Epoch, ulong Sequence), string>();
        var repeats = 0;
        foreach (var message in kafka.ConsumeAll())
        {
            Assert.True(RecordFields.TryRead(message.Message.Value, out var fields));
            var leaf = AnsweredAndRecorded.LeafOf(message.Message.Value);
            if (!leaves.TryAdd((fields.Epoch, fields.Sequence), leaf))
            {
                Assert.Equal(leaves[(fields.Epoch, fields.Sequence)], leaf);
                repeats++;
            }
        }

        Assert.Equal(Enumerable.Range(1, leaves.Count).Select(static number => (ulong)number), leaves.Keys.Select(static key => key.Sequence).Order());
        Assert.All(load.Receipts, receipt => Assert.Equal(Convert.ToHexString(receipt.LeafHash.Span), leaves[(receipt.Epoch, receipt.Sequence)]));
        output.WriteLine($"{FewKills} kills, {load.Answers} answers, {leaves.Count} records on the topic, {repeats} repeats");
        Assert.True(load.Answers > FewKills);
    }

    private (string, string)[] Settings() =>
    [
        CheapPolicy.Write(_policies.FullName), ("Ledger__Spool__SegmentBytes", (4 << 20).ToString(System.Globalization.CultureInfo.InvariantCulture)),
        ("Ledger__Spool__MaxRecordBytes", "262144"),
    ];

    /// <summary>The seconds in which it served.</summary>
    private async Task<double> KillAsync(
        SidecarProcess sidecar, ReceiptLoad load, int kills, (string, string)[] settings, long mostAnswers = long.MaxValue)
    {
        double served = 0;
        for (var kill = 0; kill < kills; kill++)
        {
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
            var before = load.Answers;
            var since = Stopwatch.GetTimestamp();
            var running = load.RunAsync(sidecar.UnixSocket, stop.Token);
            var lifetime = TimeSpan.FromMilliseconds(_random.Next(100, 1200));
            using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(1));
            while (Stopwatch.GetElapsedTime(since) < lifetime && load.Answers - before < mostAnswers)
            {
                await timer.WaitForNextTickAsync(stop.Token);
            }

            await sidecar.KillAsync();
            served += Stopwatch.GetElapsedTime(since).TotalSeconds;
            await stop.CancelAsync();
            await running;
            await sidecar.RestartAsync(settings);
        }

        return served;
    }
}
