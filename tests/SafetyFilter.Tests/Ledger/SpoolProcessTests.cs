using System.Buffers.Binary;
using System.Diagnostics;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger;

/// <summary>The spool in a real process that is really killed, and on a disk that really says no.</summary>
public sealed class SpoolProcessTests : IDisposable
{
    private readonly LedgerFolder _folder = new();
    private readonly List<Process> _children = [];

    public void Dispose()
    {
        // After a failed assertion or the timeout a child may still run.
        foreach (var child in _children.Where(static child => !child.HasExited))
        {
            child.Kill(entireProcessTree: true);
        }

        _children.ForEach(static child => child.Dispose());
        _folder.Dispose();
    }

    [Fact(Timeout = 120_000)]
    public async Task Append_ProcessKilledAgainAndAgain_LosesNoAcknowledgedRecord()
    {
        const int Kills = 5;
        var acknowledged = new List<ulong>();
        for (var kill = 1; kill <= Kills; kill++)
        {
            var child = Start(SpoolChild.StartInfo(SpoolChild.AppendUntilKilled, _folder.Path));
            var output = child.StandardOutput.BaseStream;
            var sequence = new byte[sizeof(ulong)];
            for (var read = 0; await output.ReadAtLeastAsync(sequence, 8, false, TestContext.Current.CancellationToken) == 8; read++)
            {
                acknowledged.Add(BinaryPrimitives.ReadUInt64LittleEndian(sequence));
                if (read == 1000 + kill * 300)
                {
                    child.Kill();
                }
            }

            await child.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.Equal(137, child.ExitCode);
        }

        using (var spool = _folder.Open())
        {
            Assert.Equal((uint)Kills + 1, spool.Epoch);
        }

        var found = _folder.ReadAll().Where(one => one.Damage is null).Select(one => one.Sequence).ToHashSet();
        Assert.True(acknowledged.Count > Kills * 1000);
        Assert.DoesNotContain(acknowledged, one => !found.Contains(one));
        Assert.Equal(acknowledged.Count, acknowledged.Distinct().Count());
        Assert.True(StreamAudit.Check(_folder).Checkpoints.Count > Kills);
        using var verifier = _folder.Verify();
        Assert.True(verifier.IsVerified, LedgerFolder.Describe(verifier));
    }

    [Fact(Timeout = 120_000)]
    public async Task Append_WhenFdatasyncFails_SaysSoWritesAgainElsewhereAndLosesNothing()
    {
        const string Strace = "/usr/bin/strace";
        Assert.SkipUnless(File.Exists(Strace), "strace is not installed (apt-get install strace).");
        var child = Start(SpoolChild.StartInfo(
            SpoolChild.AppendDurably, _folder.Path,
            Strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=3"));
        var said = (await child.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken)).Trim().Split('|');
        await child.WaitForExitAsync(TestContext.Current.CancellationToken);

        Assert.Equal(0, child.ExitCode);
        Assert.Equal("1", said[0]);
        Assert.Equal("21", said[1]);
        Assert.Contains("errno 5", said[2], StringComparison.Ordinal);
        Assert.Equal("", said[3]);
        using var verifier = _folder.Verify();
        Assert.True(verifier.IsVerified, LedgerFolder.Describe(verifier));
        Assert.Equal(20, verifier.Decisions);
    }

    private Process Start(ProcessStartInfo start)
    {
        var child = Process.Start(start)!;
        _children.Add(child);
        return child;
    }
}
