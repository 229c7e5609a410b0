using System.Diagnostics;
using Grpc.Core;
using Grpc.Health.V1;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.Observability;

namespace SafetyFilter.FunctionalTests.Faults;

/// <summary>The real sidecar on a disk that says no. Whatever fails: it is told, and what was answered is recorded.</summary>
public sealed class DiskFaultTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-fault-");
    private readonly ReceiptLoad _load = new(streams: 2, inFlight: 4);
    private string? _mount;

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        if (_mount is not null)
        {
            Run("umount", "-l", _mount);
        }

        _folder.Delete(recursive: true);
    }

    [Theory]
    [InlineData("fdatasync", "error=EIO:when=1")]
    [InlineData("fdatasync", "error=EIO")]
    [InlineData("fsync", "error=EIO:when=1..2")]
    [InlineData("fsync", "error=EIO")]
    [InlineData("fallocate", "error=ENOSPC")]
    [InlineData("fallocate", "error=EIO:when=1..2")]
    [InlineData("rename", "error=EIO:when=1..2")]
    [InlineData("pwrite64", "error=ENOSPC:when=1..2")]
    public async Task Serve_SystemCallFails_TellsItAndKeepsWhatItAnswered(string call, string fault)
    {
        await using var sidecar = await SidecarProcess.StartAsync(Settings(SegmentBytes: 1 << 20));
        ExpectErrors(sidecar);
        await using (await SyscallFaults.StartAsync(sidecar.ProcessId, call, fault))
        {
            await LoadAsync(sidecar, TimeSpan.FromSeconds(2.5));
        }

        // The fault is over: it has to serve again, by itself.
        await ServingAsync(sidecar, HealthCheckResponse.Types.ServingStatus.Serving, sendMeanwhile: true);
        var before = _load.Answers;
        await LoadAsync(sidecar, TimeSpan.FromSeconds(0.5));
        Assert.True(_load.Answers > before);
        var exit = await sidecar.StopAsync();
        Assert.True(exit == 0, $"Exit code {exit}:\n{string.Join('\n', sidecar.Output.TakeLast(15))}");
        Assert.All(_load.Refused.Keys, static status => Assert.Equal(StatusCode.Unavailable, status));
        AnsweredAndRecorded.Check(sidecar.Spool, _load.Receipts);
        if (call is "fdatasync" or "fallocate")
        {
            Assert.Contains(sidecar.Output, static line =>
                line.Contains($"\"EventId\":{EventIds.LedgerSyncFailed}", StringComparison.Ordinal) || line.Contains($"\"EventId\":{EventIds.LedgerNoSpare}", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Stop_FdatasyncFailsAtTheClose_RecordsAreWrittenAgainAndNothingIsLost()
    {
        await using var sidecar = await SidecarProcess.StartAsync(Settings(SegmentBytes: 1 << 20));
        ExpectErrors(sidecar);
        await LoadAsync(sidecar, TimeSpan.FromSeconds(0.5));
        await using (await SyscallFaults.StartAsync(sidecar.ProcessId, "fdatasync", "error=EIO"))
        {
            Assert.Equal(0, await sidecar.StopAsync());
        }

        AnsweredAndRecorded.Check(sidecar.Spool, _load.Receipts);
        Assert.Contains(sidecar.Output, static line => line.Contains($"\"EventId\":{EventIds.LedgerSyncFailed}", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Serve_DiskIsFull_RefusesSaysSoAndServesAgainWhenThereIsSpace()
    {
        Assert.SkipUnless(Environment.UserName == "root", "Mounting a small tmpfs needs root.");
        var disk = Directory.CreateDirectory(Path.Combine(_folder.FullName, "disk")).FullName;
        Assert.SkipUnless(Run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk) == 0, "A tmpfs cannot be mounted here.");
        _mount = disk;
        await using var sidecar = await SidecarProcess.StartAsync(
            [.. Settings(SegmentBytes: 2 << 20), ("Ledger__Spool__Folder", Path.Combine(disk, "spool")), ("Ledger__Spool__MemoryBacklogBytes", "1048576")]);
        await FullUntilAsync(sidecar, Path.Combine(disk, "spool"), () => Run("mount", "-o", "remount,size=512m", disk));
    }

    /// <summary>A limit on the size of files: a write that crosses it is a short one, and the next one fails.</summary>
    [Fact]
    public async Task Serve_FilesMayNotGrowAnyMore_RefusesSaysSoAndServesAgainWhenTheyMay()
    {
        const string Prlimit = "/usr/bin/prlimit";
        Assert.SkipUnless(File.Exists(Prlimit), "prlimit is not installed (apt-get install util-linux).");
        await using var sidecar = await SidecarProcess.StartAsync([.. Settings(SegmentBytes: 1 << 20), ("Ledger__Spool__MemoryBacklogBytes", "1048576")]);
        Assert.Equal(0, Limit("64"));
        await FullUntilAsync(sidecar, sidecar.Spool, () => Limit("unlimited"));

        int Limit(string bytes) => Run(Prlimit, "--pid", sidecar.ProcessId.ToString(System.Globalization.CultureInfo.InvariantCulture), $"--fsize={bytes}:unlimited");
    }

    private async Task FullUntilAsync(SidecarProcess sidecar, string spool, Func<int> makeRoom)
    {
        ExpectErrors(sidecar);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancelled);
        var running = _load.RunAsync(sidecar.UnixSocket, stop.Token);
        await UntilAsync(() => _load.Refused.ContainsKey(StatusCode.Unavailable));
        await ServingAsync(sidecar, HealthCheckResponse.Types.ServingStatus.NotServing);

        Assert.Equal(0, makeRoom());
        var before = _load.Answers;
        await UntilAsync(() => _load.Answers > before + 100);
        await ServingAsync(sidecar, HealthCheckResponse.Types.ServingStatus.Serving);
        await stop.CancelAsync();
        await running;
        Assert.Equal(0, await sidecar.StopAsync());
        AnsweredAndRecorded.Check(spool, _load.Receipts);
        Assert.Contains(sidecar.Output, static line => line.Contains($"\"EventId\":{EventIds.LedgerNoSpare}", StringComparison.Ordinal));
    }

    private (string, string)[] Settings(int SegmentBytes) =>
    [
        CheapPolicy.Write(Path.Combine(_folder.FullName, "policies")), ("Ledger__Spool__MaxRecordBytes", "65536"),
        ("Ledger__Spool__SegmentBytes", SegmentBytes.ToString(System.Globalization.CultureInfo.InvariantCulture)),
    ];

    private static void ExpectErrors(SidecarProcess sidecar) => sidecar.ExpectedErrors.UnionWith([.. Enumerable.Range(1000, 200), .. Enumerable.Range(4000, 1000)]);

    private async Task LoadAsync(SidecarProcess sidecar, TimeSpan time)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancelled);
        stop.CancelAfter(time);
        await _load.RunAsync(sidecar.UnixSocket, stop.Token);
    }

    private async Task ServingAsync(SidecarProcess sidecar, HealthCheckResponse.Types.ServingStatus wanted, bool sendMeanwhile = false)
    {
        using var wire = Wire.Unix(sidecar.UnixSocket);
        var health = new Health.HealthClient(wire.Channel);
        for (var since = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(since) < TimeSpan.FromSeconds(30);)
        {
            if ((await health.CheckAsync(new HealthCheckRequest(), cancellationToken: Cancelled)).Status == wanted)
            {
                return;
            }

            if (sendMeanwhile)
            {
                await LoadAsync(sidecar, TimeSpan.FromMilliseconds(50));
            }
        }

        Assert.Fail($"Health is not {wanted} after 30 s.");
    }

    private static async Task UntilAsync(Func<bool> condition)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(20));
        for (var since = Stopwatch.GetTimestamp(); !condition(); await timer.WaitForNextTickAsync(Cancelled))
        {
            Assert.True(Stopwatch.GetElapsedTime(since) < TimeSpan.FromSeconds(30), "It did not come within 30 s.");
        }
    }

    private static int Run(string program, params string[] arguments)
    {
        using var process = Process.Start(program, arguments);
        process.WaitForExit();
        return process.ExitCode;
    }
}
