using System.Diagnostics;
using System.Text.Json;

namespace SafetyFilter.FunctionalTests.Foreign;

/// <summary>Another gRPC implementation (the C core, by way of Python) with stubs generated from our .proto file.</summary>
public sealed class PythonClientTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task FilterAndFilterStream_FromPython_AreReadableDecisions()
    {
        var python = await FindPythonAsync();
        Assert.SkipWhen(python is null, "No python3 with grpc and grpc_tools here. On Debian: apt-get install python3-grpcio python3-grpc-tools.");
        var stubs = Directory.CreateTempSubdirectory("sf-py-");
        try
        {
            var protos = Path.Combine(AppContext.BaseDirectory, "protos");
            await RunAsync(python, "-m", "grpc_tools.protoc", $"-I{protos}", $"--python_out={stubs}", $"--grpc_python_out={stubs}", "safetyfilter/v1/filter.proto");

            // No checkpoint takes a sequence between the two calls.
            await using var sidecar = await SidecarProcess.StartAsync(("Ledger__Signing__CheckpointInterval", "00:01:00"), ("Ledger__Signing__HeartbeatInterval", "00:01:00"));
            var script = Path.Combine(AppContext.BaseDirectory, "Foreign", "ranker.py");

            var output = await RunAsync(python, script, new Uri(sidecar.Tcp).Authority, stubs.FullName);

            using var json = JsonDocument.Parse(output);
            var unary = json.RootElement.GetProperty("unary");
            AssertDecided(unary, "py-1", candidates: 3);
            Assert.StartsWith("ACTION_ALLOW", unary.GetProperty("actions")[0].GetString(), StringComparison.Ordinal);
            Assert.NotEqual("ACTION_ALLOW", unary.GetProperty("actions")[1].GetString());
            Assert.StartsWith("NOT_FOUND: ", json.RootElement.GetProperty("refusal").GetString(), StringComparison.Ordinal);

            var stream = json.RootElement.GetProperty("stream");
            Assert.Equal(3, stream.GetArrayLength());
            AssertDecided(stream[0], "s-1", candidates: 3);
            Assert.Equal(("s-2", 5), (stream[1].GetProperty("requestId").GetString(), stream[1].GetProperty("code").GetInt32()));
            AssertDecided(stream[2], "s-3", candidates: 1);
            // The same page over the other method: the same decision and the same scores, and a place of its own in the ledger.
            Assert.Equal(unary.GetProperty("actions").GetRawText(), stream[0].GetProperty("actions").GetRawText());
            Assert.Equal(unary.GetProperty("scores").GetRawText(), stream[0].GetProperty("scores").GetRawText());
            Assert.Equal(unary.GetProperty("sequence").GetInt64() + 1, stream[0].GetProperty("sequence").GetInt64());
            Assert.Equal(0, await sidecar.StopAsync());
        }
        finally
        {
            stubs.Delete(recursive: true);
        }
    }

    private static void AssertDecided(JsonElement decision, string requestId, int candidates)
    {
        Assert.Equal(requestId, decision.GetProperty("requestId").GetString());
        Assert.Equal(candidates, decision.GetProperty("actions").GetArrayLength());
        Assert.Equal(candidates, decision.GetProperty("rules").GetArrayLength());
        Assert.All(decision.GetProperty("bases").EnumerateArray(), basis => Assert.Equal("BASIS_EVALUATED", basis.GetString()));
        Assert.Equal(candidates * decision.GetProperty("classifiers").GetArrayLength(), decision.GetProperty("scores").GetArrayLength());
        Assert.All(decision.GetProperty("scores").EnumerateArray(), score => Assert.InRange(score.GetDouble(), 0, 1));
        Assert.Equal(64, decision.GetProperty("policyRevision").GetString()!.Length);
        Assert.Equal((16, 32), (decision.GetProperty("streamIdBytes").GetInt32(), decision.GetProperty("leafHashBytes").GetInt32()));
    }

    /// <summary>A Python of the user's own often comes first on the path and lacks the distribution's packages.</summary>
    private static async Task<string?> FindPythonAsync()
    {
        foreach (var candidate in new[] { "python3", "/usr/bin/python3" })
        {
            try
            {
                if ((await ExecuteAsync(candidate, ["-c", "import grpc, grpc_tools.protoc"])).ExitCode == 0)
                {
                    return candidate;
                }
            }
            catch (System.ComponentModel.Win32Exception)
            {
                // Not there.
            }
        }

        return null;
    }

    private static async Task<string> RunAsync(string program, params string[] arguments)
    {
        var (exitCode, output, error) = await ExecuteAsync(program, arguments);
        Assert.True(exitCode == 0, $"{program} {string.Join(' ', arguments)} ended with {exitCode}:\n{error}");
        return output;
    }

    private static async Task<(int ExitCode, string Output, string Error)> ExecuteAsync(string program, string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false })!;
        var output = process.StandardOutput.ReadToEndAsync(Cancelled);
        var error = process.StandardError.ReadToEndAsync(Cancelled);
        await process.WaitForExitAsync(Cancelled);
        return (process.ExitCode, await output, await error);
    }
}
