using System.CommandLine;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.Cli.Operations;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Operations.V1;
using Stub = SafetyFilter.Operations.V1.Operations.OperationsClient;

namespace SafetyFilter.FunctionalTests.Operations;

/// <summary>A sidecar with both operations listeners: 'alice' may read, 'bob' may change.</summary>
public sealed class OperatedSidecar : IAsyncLifetime
{
    internal const string AliceToken = "alice's token";
    internal const string BobToken = "bob's token";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-ops-");

    internal SidecarProcess Sidecar { get; private set; } = null!;

    internal string UnixSocket => Path.Combine(_folder.FullName, "operations.sock");

    internal string TokensFile => Path.Combine(_folder.FullName, "tokens");

    internal string Tcp { get; private set; } = "";

    public async ValueTask InitializeAsync()
    {
        await File.WriteAllTextAsync(TokensFile, $"# who may\nalice read {Hash(AliceToken)}\nbob change {Hash(BobToken)}\n");
        Sidecar = await SidecarProcess.StartAsync(
            ("Operations__UnixSocket", UnixSocket), ("Operations__Tcp", "127.0.0.1:0"), ("Operations__TokensFile", TokensFile));
        using var ready = JsonDocument.Parse(await File.ReadAllTextAsync(Sidecar.ReadyFile));
        Tcp = ready.RootElement.GetProperty("operations").GetString()!;
    }

    public async ValueTask DisposeAsync()
    {
        await Sidecar.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    internal static string Hash(string token) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(token)));
}

public sealed class OperationsTests(OperatedSidecar fixture) : IClassFixture<OperatedSidecar>
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task GetStatus_AfterADecision_CountsItForItsSurface()
    {
        using var wire = Wire.Tcp(fixture.Sidecar);
        using var operations = Wire.Unix(fixture.UnixSocket);
        var stub = new Stub(operations.Channel);
        var request = BadInput.BadRequest.Good();
        var before = await stub.GetStatusAsync(new GetStatusRequest(), cancellationToken: Cancelled);

        await wire.FilterAsync(request);

        var after = await stub.GetStatusAsync(new GetStatusRequest(), cancellationToken: Cancelled);
        Assert.True(after.Serving);
        Assert.Equal(after.Admission.Limit, before.Admission.Limit);
        var (old, now) = (Of(before, request.Surface), Of(after, request.Surface));
        Assert.Equal(old.Requests + 1, now.Requests);
        Assert.Equal(old.Candidates + (ulong)request.CandidateIds.Count, now.Candidates);
        Assert.Equal(now.Candidates, now.Allowed + now.Labelled + now.AgeRestricted + now.Demoted + now.Blocked);
        Assert.Equal(old.BudgetMicros + 1_000_000, now.BudgetMicros);
        Assert.True(now.EngineMicros > old.EngineMicros);
        Assert.NotEmpty(now.PolicyRevision);
        Assert.True(after.Ledger.LastSequence > before.Ledger.LastSequence);
        Assert.False(after.Ledger.Kafka);
    }

    [Fact]
    public async Task WatchStatus_WhileServing_ComesAgainAndAgain()
    {
        using var operations = Wire.Unix(fixture.UnixSocket);
        using var watch = new Stub(operations.Channel).WatchStatus(new WatchStatusRequest { IntervalMillis = 100 }, cancellationToken: Cancelled);

        var times = new List<ulong>();
        while (times.Count < 3 && await watch.ResponseStream.MoveNext(Cancelled))
        {
            times.Add(watch.ResponseStream.Current.TimeUnixNanos);
        }

        Assert.Equal(3, times.Distinct().Count());
        Assert.Equal(times.Order(), times);
    }

    [Fact]
    public async Task WatchStatus_IntervalTooShort_SaysWhichAreTaken()
    {
        using var operations = Wire.Unix(fixture.UnixSocket);
        using var watch = new Stub(operations.Channel).WatchStatus(new WatchStatusRequest { IntervalMillis = 5 }, cancellationToken: Cancelled);

        var error = await Assert.ThrowsAsync<RpcException>(() => watch.ResponseStream.MoveNext(Cancelled));

        Assert.Equal(StatusCode.InvalidArgument, error.StatusCode);
        Assert.Contains("interval_millis is 5", error.Status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Tcp_TokensAndRights_DecideAndDenialsAreRecorded()
    {
        using var channel = global::Grpc.Net.Client.GrpcChannel.ForAddress(fixture.Tcp);
        var stub = new Stub(channel);

        Assert.Equal(StatusCode.Unauthenticated, await Refused(() => stub.GetStatusAsync(new GetStatusRequest(), cancellationToken: Cancelled)));
        Assert.Equal(StatusCode.Unauthenticated, await Refused(() => stub.GetStatusAsync(new GetStatusRequest(), Bearer("guessed"), cancellationToken: Cancelled)));
        Assert.True((await stub.GetStatusAsync(new GetStatusRequest(), Bearer(OperatedSidecar.AliceToken), cancellationToken: Cancelled)).Serving);
        Assert.True((await stub.GetStatusAsync(new GetStatusRequest(), Bearer(OperatedSidecar.BobToken), cancellationToken: Cancelled)).Serving);
        Assert.Equal(
            StatusCode.PermissionDenied,
            await Refused(() => stub.CloseBreakerAsync(new BreakerRequest { Bundle = "text-safety" }, Bearer(OperatedSidecar.AliceToken), cancellationToken: Cancelled)));

        var events = SpoolRecords.Read(fixture.Sidecar.Spool).Where(static record => record.Type == RecordType.SecurityEvent)
            .Select(static record => SecurityEvent.Parser.ParseFrom(record.Bytes)).ToList();
        Assert.Contains(events, static one => one is { Kind: SecurityEvent.Types.Kind.Unauthenticated, Caller: "127.0.0.1", Method: "/safetyfilter.v1.Operations/GetStatus", Attempts: >= 1 });
        Assert.Contains(events, static one => one is { Kind: SecurityEvent.Types.Kind.PermissionDenied, Caller: "alice", Method: "/safetyfilter.v1.Operations/CloseBreaker" });
        SpoolRecords.Verify(fixture.Sidecar.Spool);
    }

    [Fact]
    public async Task Tcp_TokenAddedToTheFile_IsTakenWithoutARestart()
    {
        using var channel = global::Grpc.Net.Client.GrpcChannel.ForAddress(fixture.Tcp);
        var stub = new Stub(channel);
        Assert.Equal(StatusCode.Unauthenticated, await Refused(() => stub.GetStatusAsync(new GetStatusRequest(), Bearer("carol's token"), cancellationToken: Cancelled)));

        await File.AppendAllTextAsync(fixture.TokensFile, $"carol read {OperatedSidecar.Hash("carol's token")}\n", Cancelled);

        Assert.True((await stub.GetStatusAsync(new GetStatusRequest(), Bearer("carol's token"), cancellationToken: Cancelled)).Serving);
    }

    [Fact]
    public async Task Listeners_EachServesItsOwnOnly()
    {
        using var main = Wire.Tcp(fixture.Sidecar);
        using var operations = Wire.Unix(fixture.UnixSocket);

        Assert.Equal(StatusCode.Unimplemented, await Refused(() => new Stub(main.Channel).GetStatusAsync(new GetStatusRequest(), cancellationToken: Cancelled)));
        Assert.Equal(StatusCode.Unimplemented, (await operations.RefusedAsync(BadInput.BadRequest.Good().ToByteArray())).StatusCode);
        Assert.Equal((UnixFileMode)Convert.ToInt32("600", 8), File.GetUnixFileMode(fixture.UnixSocket));
    }

    [Fact]
    public async Task Start_WhoeverConnectsFirst_FindsTheSocketsModeAlreadySet()
    {
        var folder = Directory.CreateTempSubdirectory("sf-mode-");
        using var tried = new CancellationTokenSource();
        try
        {
            var path = Path.Combine(folder.FullName, "operations.sock");
            var first = Task.Run(() => FirstMode(path, tried.Token), Cancelled);
            await using var sidecar = await SidecarProcess.StartAsync(("Operations__UnixSocket", path));

            // A busy machine may let it connect long after the start.
            Assert.Equal((UnixFileMode)Convert.ToInt32("600", 8), await first.WaitAsync(TimeSpan.FromSeconds(30), Cancelled));
        }
        finally
        {
            await tried.CancelAsync();
            folder.Delete(recursive: true);
        }

        static UnixFileMode? FirstMode(string path, CancellationToken cancelled)
        {
            while (!cancelled.IsCancellationRequested)
            {
                using var caller = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                if (File.Exists(path) && TryConnect(caller, path))
                {
                    return File.GetUnixFileMode(path);
                }

                Thread.Yield();
            }

            return null;
        }

        static bool TryConnect(Socket caller, string path)
        {
            try
            {
                caller.Connect(new UnixDomainSocketEndPoint(path));
                return true;
            }
            catch (SocketException)
            {
                return false;
            }
        }
    }

    [Fact]
    public async Task Listeners_MetricsAreServedOnTheirOwnOnlyAndNothingElseThere()
    {
        using var http = new HttpClient();
        var metrics = new Uri(fixture.Sidecar.Metrics);

        Assert.Equal(HttpStatusCode.OK, await GetAsync(metrics, HttpVersion.Version11));
        Assert.Equal(HttpStatusCode.NotFound, await GetAsync(new Uri(fixture.Sidecar.Tcp + "/metrics"), HttpVersion.Version20));
        Assert.Equal(HttpStatusCode.NotFound, await GetAsync(new Uri(fixture.Tcp + "/metrics/"), HttpVersion.Version20));
        foreach (var service in new[] { "safetyfilter.v1.SafetyFilter/Filter", "safetyfilter.v1.Operations/GetStatus", "grpc.health.v1.Health/Check" })
        {
            using var body = new ByteArrayContent([0, 0, 0, 0, 0]);
            body.Headers.ContentType = new MediaTypeHeaderValue("application/grpc");
            using var answer = await http.PostAsync(new Uri(metrics, "/" + service), body, Cancelled);
            Assert.Equal((service, "12"), (service, Assert.Single(answer.Headers.GetValues("grpc-status"))));
        }

        async Task<HttpStatusCode> GetAsync(Uri address, Version version)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, address) { Version = version, VersionPolicy = HttpVersionPolicy.RequestVersionExact };
            using var answer = await http.SendAsync(request, Cancelled);
            return answer.StatusCode;
        }
    }

    [Fact]
    public async Task BreakerCommand_IsolateAndClose_ChangesTheBreakerAndIsRecordedWithWhoDidIt()
    {
        string[] there = ["--operations", "unix:" + fixture.UnixSocket];
        using var wire = Wire.Tcp(fixture.Sidecar);

        var (listed, breakers, _) = await Run(BreakerCommand.Create(), ["ls", .. there]);
        var (isolated, after, error) = await Run(BreakerCommand.Create(), ["isolate", "text-safety", .. there]);
        var answer = await wire.FilterAsync(BadInput.BadRequest.Good());
        var (status, troubles, _) = await Run(StatusCommand.Create(), there);
        var (closed, again, _) = await Run(BreakerCommand.Create(), ["close", "text-safety", "--group", "default", .. there]);
        var (unknown, _, remedy) = await Run(BreakerCommand.Create(), ["close", "nothing", .. there]);

        Assert.True((0, 0, 0, 0, 1) == (listed, isolated, status, closed, unknown), error);
        Assert.DoesNotContain("isolated", breakers, StringComparison.Ordinal);
        Assert.Contains("isolated", after, StringComparison.Ordinal);
        Assert.Contains("breaker of text-safety (group default): Isolated", troubles, StringComparison.Ordinal);
        Assert.DoesNotContain("isolated", again, StringComparison.Ordinal);
        Assert.Contains("There is no breaker of bundle 'nothing'. Use one of:", remedy, StringComparison.Ordinal);
        Assert.Contains(answer.Classifiers, static one => one.Name.StartsWith("text-safety/", StringComparison.Ordinal) && one.Failure == V1.FailureKind.BreakerOpen);
        var changes = SpoolRecords.Read(fixture.Sidecar.Spool).Where(static record => record.Type == RecordType.BreakerChange)
            .Select(static record => BreakerChange.Parser.ParseFrom(record.Bytes)).Where(static change => change.Bundle == "text-safety").ToList();
        Assert.Contains(changes, static change => change.State == DecisionRecord.Types.BreakerState.Isolated && change.Actor.StartsWith("uid ", StringComparison.Ordinal));
        Assert.Contains(changes, static change => change.State == DecisionRecord.Types.BreakerState.Closed && change.Reason == BreakerChange.Types.Reason.Operator);
        SpoolRecords.Verify(fixture.Sidecar.Spool);
    }

    [Fact]
    public async Task ReloadCommand_ABudgetChanged_TellsItDryAndThenPutsItIntoForce()
    {
        string[] there = ["--operations", "unix:" + fixture.UnixSocket];
        var policy = Path.Combine(fixture.Sidecar.Folder, "policies", "search.yaml");
        var text = await File.ReadAllTextAsync(policy, Cancelled);
        using var operations = Wire.Unix(fixture.UnixSocket);
        var stub = new Stub(operations.Channel);
        var before = Of(await stub.GetStatusAsync(new GetStatusRequest(), cancellationToken: Cancelled), "search").PolicyRevision;
        try
        {
            await File.WriteAllTextAsync(policy, text.Replace("budget_us: 1000000", "budget_us: 999999", StringComparison.Ordinal), Cancelled);
            var (dry, told, _) = await Run(ReloadCommand.Create(), ["--dry-run", .. there]);
            var (done, output, error) = await Run(ReloadCommand.Create(), there);

            // Unless the sidecar noticed the edit by itself in between.
            Assert.True((0, 0) == (dry, done), error);
            Assert.True(told.Contains("policy search", StringComparison.Ordinal) || told.Contains("nothing to change", StringComparison.Ordinal), told);
            Assert.True(output.Contains("in effect", StringComparison.Ordinal) || output.Contains("nothing to change", StringComparison.Ordinal), output);
            Assert.NotEqual(before, Of(await stub.GetStatusAsync(new GetStatusRequest(), cancellationToken: Cancelled), "search").PolicyRevision);
            Assert.Contains(
                SpoolRecords.Read(fixture.Sidecar.Spool),
                static record => record.Type == RecordType.Change && Change.Parser.ParseFrom(record.Bytes) is { Outcome: Change.Types.Outcome.Accepted, Actor.Length: > 0 });
        }
        finally
        {
            await File.WriteAllTextAsync(policy, text, Cancelled);
            Assert.Equal(0, (await Run(ReloadCommand.Create(), there)).Code);
        }
    }

    [Fact]
    public async Task ReloadCommand_APolicyThatIsWrong_IsRefusedWithItsErrorAndServesOn()
    {
        string[] there = ["--operations", "unix:" + fixture.UnixSocket];
        var policy = Path.Combine(fixture.Sidecar.Folder, "policies", "zz-wrong.yaml");
        await File.WriteAllTextAsync(policy, "policy: wrong\n", Cancelled);
        try
        {
            var (code, output, _) = await Run(ReloadCommand.Create(), there);

            Assert.Equal(1, code);
            Assert.Contains("zz-wrong.yaml", output, StringComparison.Ordinal);
            Assert.Contains("REFUSED", output, StringComparison.Ordinal);
            using var wire = Wire.Tcp(fixture.Sidecar);
            await wire.FilterAsync(BadInput.BadRequest.Good());
        }
        finally
        {
            File.Delete(policy);
            Assert.Equal(0, (await Run(ReloadCommand.Create(), there)).Code);
        }
    }

    [Fact]
    public async Task ConfigCommand_TellsWhereAValueComesFrom()
    {
        var (code, output, _) = await Run(ConfigCommand.Create(), "Breaker:SlowCallMicros", "--json", "--operations", "unix:" + fixture.UnixSocket);

        Assert.Equal(0, code);
        var setting = Assert.Single(GetConfigurationResponse.Parser.ParseJson(output).Settings);
        Assert.Equal(("Breaker:SlowCallMicros", "0", "environment"), (setting.Key, setting.Value, setting.Origin));
    }

    [Fact]
    public async Task StatusCommand_OverTheSocket_ShowsSurfacesAndLedger()
    {
        var (code, output, _) = await Run(StatusCommand.Create(), "--operations", "unix:" + fixture.UnixSocket);

        Assert.Equal(0, code);
        Assert.Contains("serving for", output, StringComparison.Ordinal);
        Assert.Contains("for-you", output, StringComparison.Ordinal);
        Assert.Contains("Kafka off", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task StatusCommand_NobodyThere_SaysWhereItLooked()
    {
        var (code, _, error) = await Run(StatusCommand.Create(), "--operations", "unix:/nowhere/operations.sock");

        Assert.Equal(1, code);
        Assert.Contains("No sidecar answers at unix:/nowhere/operations.sock", error, StringComparison.Ordinal);
    }

    private static async Task<(int Code, string Output, string Error)> Run(Command command, params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var code = await command.Parse(arguments).InvokeAsync(new InvocationConfiguration { Output = output, Error = error }, Cancelled);
        return (code, output.ToString(), error.ToString());
    }

    private static SurfaceStatus Of(SidecarStatus status, string surface) => Assert.Single(status.Surfaces, one => one.Name == surface);

    private static Metadata Bearer(string token) => new() { { "authorization", "Bearer " + token } };

    private static async Task<StatusCode> Refused<T>(Func<AsyncUnaryCall<T>> call) =>
        (await Assert.ThrowsAsync<RpcException>(async () => await call())).StatusCode;
}
