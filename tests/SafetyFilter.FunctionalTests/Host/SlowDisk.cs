using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>Makes every fdatasync of a running process take longer, by strace, until it is disposed.</summary>
internal sealed partial class SlowDisk : IAsyncDisposable
{
    private const string Strace = "/usr/bin/strace";
    private const int SigInt = 2;

    private readonly Process _strace;

    private SlowDisk(Process strace) => _strace = strace;

    public static void SkipUnlessPossible() => Assert.SkipUnless(File.Exists(Strace), "strace is not installed (apt-get install strace).");

    /// <summary>Returns when calls are slow.</summary>
    public static async Task<SlowDisk> OfAsync(SidecarProcess sidecar, TimeSpan delay)
    {
        var start = new ProcessStartInfo(Strace) { UseShellExecute = false, RedirectStandardError = true };
        var process = sidecar.ProcessId.ToString(CultureInfo.InvariantCulture);
        string[] arguments = ["-f", "-p", process, "-o", "/dev/null", "-e", "trace=fdatasync", "-e", $"inject=fdatasync:delay_enter={delay.TotalMicroseconds:0}"];
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        var attached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var said = new List<string>();
        var strace = new Process { StartInfo = start };
        strace.ErrorDataReceived += (_, line) =>
        {
            said.Add(line.Data ?? "(the end)");
            if (line.Data is null)
            {
                attached.TrySetException(new InvalidOperationException($"strace ended: {string.Join(' ', said)}"));
            }
            else if (line.Data.Contains($"Process {process} attached", StringComparison.Ordinal))
            {
                attached.TrySetResult();
            }
        };
        strace.Start();
        strace.BeginErrorReadLine();
        await attached.Task.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        return new SlowDisk(strace);
    }

    // It lets go of the process on this signal; killed, it might take one of the process's own signals with it.
    public async ValueTask DisposeAsync()
    {
        _ = Kill(_strace.Id, SigInt);
        await _strace.WaitForExitAsync(CancellationToken.None);
        _strace.Dispose();
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int pid, int signal);
}
