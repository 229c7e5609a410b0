using System.Diagnostics;
using System.Globalization;

namespace SafetyFilter.FunctionalTests.Faults;

/// <summary>System calls of a running process that fail, by strace, until disposed.</summary>
internal sealed class SyscallFaults : IAsyncDisposable
{
    private const string Strace = "/usr/bin/strace";
    private readonly Process _strace;

    private SyscallFaults(Process strace) => _strace = strace;

    /// <param name="call">E.g. <c>fdatasync</c>.</param>
    /// <param name="fault">What strace injects, e.g. <c>error=EIO:when=1</c>; counted per thread.</param>
    public static async Task<SyscallFaults> StartAsync(int process, string call, string fault)
    {
        Assert.SkipUnless(File.Exists(Strace), "strace is not installed (apt-get install strace).");
        var start = new ProcessStartInfo(Strace, ["-f", "-o", "/dev/null", "-e", "trace=" + call, "-e", $"inject={call}:{fault}", "-p", process.ToString(CultureInfo.InvariantCulture)])
        {
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        var strace = Process.Start(start)!;
        var line = await strace.StandardError.ReadLineAsync(TestContext.Current.CancellationToken);
        if (line?.Contains("attached", StringComparison.Ordinal) != true)
        {
            strace.Kill();
            strace.Dispose();
            Assert.Skip($"strace may not attach here: {line}");
        }

        _ = strace.StandardError.ReadToEndAsync();
        return new SyscallFaults(strace);
    }

    public async ValueTask DisposeAsync()
    {
        // SIGTERM: it lets go of the process, which runs on.
        using (var kill = Process.Start("kill", [_strace.Id.ToString(CultureInfo.InvariantCulture)]))
        {
            await kill.WaitForExitAsync();
        }

        await _strace.WaitForExitAsync();
        _strace.Dispose();
    }
}
