using System.Diagnostics;
using System.Text.Json;

namespace SafetyFilter.FunctionalTests.Client;

/// <summary>The programs that the README names, as a person runs them.</summary>
public sealed class DemoTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Demo_InventedTraffic_EndsWithEverythingHeldAndNothingLeftBehind()
    {
        var temporary = Directory.CreateTempSubdirectory("sf-demo-test-");
        try
        {
            var (exitCode, output) = await RunAsync(temporary.FullName, "demo", "--requests", "400");

            Assert.True(exitCode == 0, output);
            Assert.Contains("0 unexplained differences", output, StringComparison.Ordinal);
            Assert.DoesNotContain("FAIL", output, StringComparison.Ordinal);
            // Redirected output is plain: no colours, no progress bar.
            Assert.DoesNotContain('\e', output);
            Assert.Empty(temporary.EnumerateFileSystemInfos("sf-demo-*"));
        }
        finally
        {
            temporary.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Load_RunningSidecar_AnswersEveryRequestAtTheRateAskedFor()
    {
        await using var sidecar = await SidecarProcess.StartAsync();

        var (exitCode, output) = await RunAsync(
            sidecar.Folder, "load", "--target", "unix:" + sidecar.UnixSocket, "--rate", "50", "--duration", "2", "--deadline", "30000", "--json");

        Assert.True(exitCode == 0, output);
        using var json = JsonDocument.Parse(output);
        Assert.Equal(100, json.RootElement.GetProperty("answered").GetInt32());
        Assert.Empty(json.RootElement.GetProperty("failures").EnumerateObject());
        Assert.InRange(json.RootElement.GetProperty("latency").GetProperty("p50").GetInt64(), 1, 30_000_000);
    }

    [Theory]
    [InlineData("--target", "http://192.0.2.1:5600", "--allow-remote")]
    [InlineData("--target", "unix:/x", "--rate", "0", "--rate 0 is outside")]
    [InlineData("--target", "unix:/x", "--surface", "nowhere", "--surface nowhere is not known")]
    [InlineData("--target", "unix:/x", "--duration", "3601", "--duration 3601 is outside")]
    public async Task Load_UnwantedArguments_AreRefusedByNameBeforeAnythingIsSent(params string[] argumentsAndWords)
    {
        var (exitCode, output) = await RunAsync(Path.GetTempPath(), ["load", .. argumentsAndWords[..^1]]);

        Assert.Equal(2, exitCode);
        Assert.Contains(argumentsAndWords[^1], output, StringComparison.Ordinal);
    }

    private static async Task<(int ExitCode, string Output)> RunAsync(string temporary, params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "SafetyFilter.Cli.dll"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        start.Environment["TMPDIR"] = temporary;
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync(Cancelled);
        var error = process.StandardError.ReadToEndAsync(Cancelled);
        await process.WaitForExitAsync(Cancelled);
        return (process.ExitCode, await output + await error);
    }
}
