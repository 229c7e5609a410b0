using System.Buffers.Binary;
using System.Diagnostics;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Tests.Ledger;

/// <summary>What is lost and what is admitted: with real kills, a disk that really says no and one that really is full.</summary>
public sealed class SpoolLossProcessTests : IDisposable
{
    private const string Strace = "/usr/bin/strace";

    private readonly LedgerFolder _folder = new();
    private readonly List<Process> _children = [];

    public void Dispose()
    {
        foreach (var child in _children.Where(static child => !child.HasExited))
        {
            child.Kill(entireProcessTree: true);
        }

        _children.ForEach(static child => child.Dispose());
        _folder.Dispose();
    }

    [Fact(Timeout = 120_000)]
    public async Task ServedWithoutRecord_ProcessKilled_TheNextStartAdmitsEveryAnswer()
    {
        ulong known = 0;
        for (var kill = 1; kill <= 3; kill++)
        {
            var acknowledged = await RunAndKill(SpoolChild.LoseUntilKilled, after: 200 * kill, TestContext.Current.CancellationToken);
            using var spool = _folder.Open();

            // An answer that was counted and did not get out of the process is one too many at most, never one too few.
            Assert.InRange(spool.LostTotal, acknowledged, acknowledged + 1);
            Assert.True(spool.LostTotal > known);
            known = spool.LostTotal;
            Assert.True(SpinWait.SpinUntil(() => Losses().Sum(static loss => (long)loss.Decisions) == (long)known, TimeSpan.FromSeconds(20)));
        }

        var losses = Losses();
        Assert.Equal(known, losses[^1].TotalDecisions);
        Assert.Equal(losses.Sum(static loss => (long)loss.Decisions) * 3, losses.Sum(static loss => (long)loss.Candidates));
        using var verifier = _folder.Verify();
        Assert.True(verifier.IsVerified, LedgerFolder.Describe(verifier));
    }

    [Fact(Timeout = 120_000)]
    public async Task LevelMemory_ProcessKilledAgainAndAgain_EveryAnswerIsOnTheDiskOrAdmitted()
    {
        ulong acknowledged = 0;
        const int Kills = 6;
        for (var kill = 1; kill <= Kills; kill++)
        {
            acknowledged += await RunAndKill(SpoolChild.AppendThroughMemory, after: 100 + kill * 57, TestContext.Current.CancellationToken);
        }

        using var spool = _folder.Open();
        var found = (ulong)_folder.ReadAll().Count(static one => one.Type == RecordType.Decision);
        Assert.InRange(found + spool.LostTotal, acknowledged, acknowledged + Kills);
    }

    [Fact(Timeout = 120_000)]
    public async Task WhenDurable_DiskConfirmsNothing_NobodyIsToldThatItDid()
    {
        Assert.SkipUnless(File.Exists(Strace), "strace is not installed (apt-get install strace).");
        ulong first;
        using (var spool = _folder.Open())
        {
            spool.Close();
            first = spool.LastSequence + 1;
        }

        // What hinders the way out, which is to write the run's first segment again.
        Directory.CreateDirectory(Path.Combine(_folder.Stream, SpoolFolder.SegmentName(first)) + ".rewrite");
        var child = Start(SpoolChild.StartInfo(
            SpoolChild.WaitForFailingDisk, _folder.Path,
            Strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"));
        var said = (await child.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken)).Trim();

        Assert.Equal("0|0|True", said);
    }

    [Fact(Timeout = 120_000)]
    public async Task WhenDurable_ManyWait_TheyShareCallsOfFdatasync()
    {
        Assert.SkipUnless(File.Exists(Strace), "strace is not installed (apt-get install strace).");
        var calls = Path.Combine(_folder.Path, "calls");
        var child = Start(SpoolChild.StartInfo(
            SpoolChild.WaitTogether, _folder.Path,
            Strace, "-f", "-qq", "-o", calls, "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=20000"));
        var said = (await child.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken)).Trim();
        await child.WaitForExitAsync(TestContext.Current.CancellationToken);

        Assert.Equal("200", said);
        var count = (await File.ReadAllLinesAsync(calls, TestContext.Current.CancellationToken))
            .Count(static line => line.Contains("fdatasync(", StringComparison.Ordinal));
        Assert.InRange(count, 4, 40);
    }

    [Fact(Timeout = 120_000)]
    public async Task Append_VolumeIsFull_IsCountedAndAdmittedOnceThereIsSpace()
    {
        var volume = Path.Combine(_folder.Path, "volume");
        Directory.CreateDirectory(volume);
        Assert.SkipUnless(await Run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", volume) == 0, "A tmpfs cannot be mounted here (needs root).");
        try
        {
            var ballast = Path.Combine(volume, "ballast");
            await File.WriteAllBytesAsync(ballast, new byte[384 << 10], TestContext.Current.CancellationToken);
            var options = _folder.Options(segmentBytes: 256 << 10);
            options.Folder = Path.Combine(volume, "spool");
            options.MemoryBacklogBytes = 0;
            options.AppendPatience = TimeSpan.Zero;
            options.WarnFreeBytes = 0;
            using (var spool = Spool.Open(options, "test", TimeProvider.System))
            {
                var body = LedgerFolder.Body(spool, "full", length: 1000);
                var refuse = new RecordTerms { RefuseWhenLate = true };
                LedgerFolder.Fill(spool);
                Assert.Contains("errno 28", spool.Trouble, StringComparison.Ordinal);
                for (var index = 0; index < 100; index++)
                {
                    Assert.Equal(AppendResult.Lost, spool.Append(RecordType.Decision, body, new RecordTerms { ServeWhenFull = true }, 2, out _));
                }

                File.Delete(ballast);
                Assert.True(SpinWait.SpinUntil(
                    () => spool.Append(RecordType.Decision, body, refuse, 1, out _) == AppendResult.Appended, TimeSpan.FromSeconds(20)));
            }

            using var verifier = new LedgerVerifier();
            Assert.True(verifier.AddSpool(options.Folder, out var error), error);
            Assert.True(verifier.IsVerified, LedgerFolder.Describe(verifier));
            var loss = Assert.Single(LedgerFolder.Losses(SpoolFolder.Streams(options.Folder).Single()));
            Assert.Equal((100UL, 200UL, 100UL), (loss.Decisions, loss.Candidates, loss.TotalDecisions));
        }
        finally
        {
            Assert.Equal(0, await Run("umount", volume));
        }
    }

    /// <returns>The last count that the child told before it died.</returns>
    private async Task<ulong> RunAndKill(string mode, int after, CancellationToken cancel)
    {
        var child = Start(SpoolChild.StartInfo(mode, _folder.Path));
        var output = child.StandardOutput.BaseStream;
        var count = new byte[sizeof(ulong)];
        ulong last = 0;
        for (var read = 0; await output.ReadAtLeastAsync(count, 8, false, cancel) == 8; read++)
        {
            last = BinaryPrimitives.ReadUInt64LittleEndian(count);
            if (read == after)
            {
                child.Kill();
            }
        }

        await child.WaitForExitAsync(cancel);
        Assert.Equal(137, child.ExitCode);
        return last;
    }

    private List<Loss> Losses() => LedgerFolder.Losses(_folder.Stream);

    private static async Task<int> Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { UseShellExecute = false, RedirectStandardError = true })!;
        await process.WaitForExitAsync();
        return process.ExitCode;
    }

    private Process Start(ProcessStartInfo start)
    {
        var child = Process.Start(start)!;
        _children.Add(child);
        return child;
    }
}
