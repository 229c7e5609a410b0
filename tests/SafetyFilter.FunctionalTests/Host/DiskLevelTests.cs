using System.Diagnostics;
using SafetyFilter.Client;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Observability;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>The levels as callers meet them while there is room: on a disk that is fast, slow and waited for, slow and not waited for.</summary>
public sealed class DiskLevelTests : IDisposable
{
    private readonly RecordLevels _levels = new(
        ("memory", "durability: memory"),
        ("process", "durability: process"),
        ("disk", "durability: disk"),
        ("strict", "durability: disk, late: refuse"));

    public void Dispose() => _levels.Dispose();

    [Fact]
    public async Task Filter_DiskInTime_ReceiptSaysWhatThePolicyAsksFor()
    {
        await using var sidecar = await StartAsync(diskPatience: "00:00:10");
        Assert.Equal(["Process"], await OutcomesAsync(sidecar, "memory"));
        Assert.Equal(["Process"], await OutcomesAsync(sidecar, "process"));
        Assert.Equal(["Disk"], await OutcomesAsync(sidecar, "disk"));
        Assert.Equal(["Disk"], await OutcomesAsync(sidecar, "strict"));

        // Asked once: the endpoint gives the same answer again for a while. Only the level disk waits.
        var metrics = await Scraped.FromAsync(sidecar);
        Assert.InRange(metrics.Value("safetyfilter_ledger_disk_waits"), 1, RecordLevels.Asked * 2);
        Assert.Equal(RecordLevels.Asked, metrics.Value("safetyfilter_requests", "surface=\"disk\"", "outcome=\"ok\""));
        Assert.DoesNotContain("safetyfilter_answers_", metrics.Text, StringComparison.Ordinal);
        Assert.Equal(0, await sidecar.StopAsync());
        SpoolRecords.Verify(sidecar.Spool);
    }

    [Fact]
    public async Task Filter_DiskIsSlowAndPatienceIsLong_AnswersOnlyWhenTheDiskHasConfirmed()
    {
        SlowDisk.SkipUnlessPossible();
        var delay = TimeSpan.FromMilliseconds(200);
        await using var sidecar = await StartAsync(diskPatience: "00:00:10");
        await using (await SlowDisk.OfAsync(sidecar, delay))
        {
            var started = Stopwatch.GetTimestamp();
            Assert.Equal(["Disk"], await OutcomesAsync(sidecar, "disk"));

            // One after another on the stream too: the reply to a page waits for its own record.
            Assert.True(Stopwatch.GetElapsedTime(started) >= delay * RecordLevels.Asked);
        }

        Assert.Equal(0, await sidecar.StopAsync());
        SpoolRecords.Verify(sidecar.Spool);
    }

    [Fact]
    public async Task Filter_DiskIsLate_IsPendingOrRefusedAndWithdrawn()
    {
        SlowDisk.SkipUnlessPossible();
        await using var sidecar = await StartAsync(diskPatience: "00:00:00.001");
        sidecar.ExpectedErrors.Add(EventIds.LedgerRefused);
        List<Answer> pending;
        List<Answer> refused;
        await using (await SlowDisk.OfAsync(sidecar, TimeSpan.FromSeconds(1)))
        {
            Assert.Equal(["Process"], await OutcomesAsync(sidecar, "process"));
            pending = await RecordLevels.AskAsync(sidecar, "disk");
            refused = await RecordLevels.AskAsync(sidecar, "strict");
            Assert.True(await RecordLevels.IsServingAsync(sidecar));
        }

        Assert.All(pending, static answer => Assert.Equal("Process pending", answer.Outcome));
        Assert.All(pending, static answer => Assert.False(answer.Receipt!.Value.IsLost));
        Assert.All(refused, static answer => Assert.Equal("Unavailable", answer.Outcome));
        Assert.All(refused, static answer => Assert.Contains("disk is late", answer.Status.Detail, StringComparison.Ordinal));
        var metrics = await Scraped.FromAsync(sidecar);
        Assert.Equal(RecordLevels.Asked, metrics.Value("safetyfilter_answers_pending", "surface=\"disk\"", "reached=\"process\""));
        Assert.Equal(RecordLevels.Asked, metrics.Value("safetyfilter_answers_withdrawn", "surface=\"strict\""));
        Assert.Equal(RecordLevels.Asked, metrics.Value("safetyfilter_requests", "outcome=\"ledger_unavailable\""));
        Assert.Equal(0, metrics.Value("safetyfilter_requests", "surface=\"strict\""));
        Assert.Equal(0, await sidecar.StopAsync());
        AssertRecorded(sidecar.Spool, pending, refused);
    }

    private static void AssertRecorded(string spool, List<Answer> pending, List<Answer> refused)
    {
        SpoolRecords.Verify(spool);
        var records = SpoolRecords.Read(spool);
        var decisions = records.Where(static record => record.Type == RecordType.Decision).ToDictionary(static record => record.Decision.RequestId, StringComparer.Ordinal);
        foreach (var answer in pending)
        {
            Assert.Equal(answer.Receipt!.Value.Sequence, decisions[answer.RequestId].Sequence);
        }

        // What was refused is recorded, and for exactly those it is recorded that nobody was given the decision.
        var withdrawn = records.Where(static record => record.Type == RecordType.Withdrawal).Select(static record => Withdrawal.Parser.ParseFrom(record.Bytes).WithdrawnSequence);
        Assert.Equal(refused.Select(answer => decisions[answer.RequestId].Sequence).Order(), withdrawn.Order());
    }

    /// <summary>The different outcomes of asking a surface both ways.</summary>
    private static async Task<IEnumerable<string>> OutcomesAsync(SidecarProcess sidecar, string surface) =>
        (await RecordLevels.AskAsync(sidecar, surface)).Select(static answer => answer.Outcome).Distinct(StringComparer.Ordinal);

    private Task<SidecarProcess> StartAsync(string diskPatience) =>
        SidecarProcess.StartAsync(_levels.Setting, ("Ledger__Spool__DiskPatience", diskPatience), ("Ledger__Spool__AppendPatience", "00:00:10"));
}
