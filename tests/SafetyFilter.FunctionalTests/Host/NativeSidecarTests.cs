using System.Text.Json;
using SafetyFilter.Cli;
using SafetyFilter.Client;
using SafetyFilter.FunctionalTests.Kafka;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>
/// The sidecar as one native executable, from its start to an auditor's verdict. Everything else it must do is in the other tests: with
/// SAFETYFILTER_NATIVE set they start it too.
/// </summary>
public sealed class NativeSidecarTests : IDisposable
{
    private const string HowTo =
        "SAFETYFILTER_NATIVE names no native sidecar. Make one: dotnet publish src/SafetyFilter.Sidecar -c Release -r linux-x64 -p:PublishAot=true " +
        "--artifacts-path /tmp/native; then SAFETYFILTER_NATIVE=/tmp/native/publish/SafetyFilter.Sidecar/release_linux-x64/SafetyFilter.Sidecar";

    private readonly KafkaUnderTest _kafka = new();

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    public void Dispose() => _kafka.Dispose();

    [Fact]
    public async Task Serve_NativeExecutable_HasNoRuntimeAndTakesItsLibrariesFromBesideIt()
    {
        Assert.SkipWhen(SidecarProcess.NativeExecutable is null, HowTo);
        await using var sidecar = await SidecarProcess.StartAsync(_kafka.Sidecar);
        var mapped = (await File.ReadAllLinesAsync($"/proc/{sidecar.ProcessId}/maps", Cancelled))
            .Select(static line => line[(line.IndexOf('/', StringComparison.Ordinal) is var path && path >= 0 ? path : line.Length)..])
            .ToHashSet(StringComparer.Ordinal);

        Assert.Contains(SidecarProcess.NativeExecutable, mapped);
        Assert.DoesNotContain(mapped, static file => file.EndsWith("libcoreclr.so", StringComparison.Ordinal) || file.EndsWith(".dll", StringComparison.Ordinal));
        var folder = Path.GetDirectoryName(SidecarProcess.NativeExecutable)!;
        foreach (var library in new[] { "onnxruntime", "rdkafka", "sodium" })
        {
            Assert.Contains(mapped, file => Path.GetDirectoryName(file) == folder && Path.GetFileName(file).Contains(library, StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Stop_AfterUnaryCallsAndAStream_LeavesALedgerThatVerifiesOnDiskAndOnTheTopic()
    {
        Assert.SkipWhen(SidecarProcess.NativeExecutable is null, HowTo);
        const int Calls = 20;
        await using var sidecar = await SidecarProcess.StartAsync(_kafka.Sidecar);
        using (var client = sidecar.Client())
        {
            for (var call = 0; call < Calls; call++)
            {
                var query = new FilterQuery { Surface = "for-you" };
                query.AddCandidate("video:1", "v1", "en").Text("text", "Ten quiet walks in the Alps");
                query.AddCandidate("video:2", "v1", "en").Text("text", "you are all worthless idiots");
                var result = await client.FilterAsync(query, Cancelled);
                Assert.Equal((FilterAction.Allow, FilterAction.Block), (result[0].Action, result[1].Action));
            }
        }

        using (var wire = Wire.Unix(sidecar.UnixSocket))
        {
            var replies = await wire.StreamAsync([.. Enumerable.Range(0, Calls).Select(static call => Bytes($"stream-{call}"))]);
            Assert.All(replies, static reply => Assert.NotNull(reply.Response));
        }

        Assert.Equal(0, await sidecar.StopAsync());
        Assert.Equal(2 * Calls, Verified(sidecar.Spool, "--identity", Path.Combine(sidecar.Spool, "identity.pub")));
        Assert.Equal(2 * Calls, Verified(_kafka.Audit));
    }

    private static byte[] Bytes(string id) => Google.Protobuf.MessageExtensions.ToByteArray(BadInput.BadRequest.Good(id));

    /// <summary>How many decisions <c>audit verify</c> found in order.</summary>
    private static int Verified(params string[] ledger)
    {
        var output = new StringWriter();
        Assert.Equal(0, AuditCommand.Create().Parse(["verify", "--json", .. ledger]).Invoke(new() { Output = output, Error = TextWriter.Null }));
        using var verdict = JsonDocument.Parse(output.ToString());
        Assert.True(verdict.RootElement.GetProperty("verified").GetBoolean());
        return verdict.RootElement.GetProperty("decisions").GetInt32();
    }
}
