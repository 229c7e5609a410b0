using System.Runtime.InteropServices;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Grpc.Core;
using Grpc.Health.V1;
using Grpc.Reflection.V1Alpha;
using SafetyFilter.Operations.V1;
using Stub = SafetyFilter.Operations.V1.Operations.OperationsClient;

namespace SafetyFilter.FunctionalTests.Host;

public sealed partial class HealthTests
{
    private const string ServiceName = "safetyfilter.v1.SafetyFilter";

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Check_BeforeThePoliciesAreRead_IsNotServingAndRequestsAreUnavailable()
    {
        var folder = Directory.CreateTempSubdirectory("sf-slow-");
        try
        {
            // Reading a named pipe waits for whoever writes to it: the sidecar loads for as long as we want.
            var policy = Path.Combine(Directory.CreateDirectory(Path.Combine(folder.FullName, "policies")).FullName, "slow.yaml");
            Assert.Equal(0, MakeFifo(policy, Convert.ToUInt32("600", 8)));
            var socket = Path.Combine(folder.FullName, "filter.sock");
            var starting = SidecarProcess.StartAsync(("Listen__UnixSocket", socket), ("Policies__Folder", Path.GetDirectoryName(policy)!));
            using var wire = Wire.Unix(socket);
            var health = new Health.HealthClient(wire.Channel);

            Assert.Equal(HealthCheckResponse.Types.ServingStatus.NotServing, await FirstAnswerAsync(health, socket));
            var refused = await wire.RefusedAsync(BadInput.BadRequest.Good().ToByteArray());
            Assert.Equal(StatusCode.Unavailable, refused.StatusCode);
            Assert.Contains("not serving", refused.Detail, StringComparison.Ordinal);
            Assert.False(starting.IsCompleted);

            await File.WriteAllTextAsync(policy, await File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, "policies", "for-you.yaml"), Cancelled), Cancelled);
            await using var sidecar = await starting;
            foreach (var service in new[] { "", ServiceName })
            {
                var answer = await health.CheckAsync(new HealthCheckRequest { Service = service }, cancellationToken: Cancelled);
                Assert.Equal(HealthCheckResponse.Types.ServingStatus.Serving, answer.Status);
            }

            await wire.FilterAsync(BadInput.BadRequest.Good());
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Watch_Drain_TellsNotServingBeforeTheListenersClose()
    {
        await using var sidecar = await SidecarProcess.StartAsync(("Drain__Delay", "00:00:03"));
        using var wire = Wire.Tcp(sidecar);
        var health = new Health.HealthClient(wire.Channel);
        using var watch = health.Watch(new HealthCheckRequest { Service = ServiceName }, cancellationToken: Cancelled);
        Assert.True(await watch.ResponseStream.MoveNext(Cancelled));
        Assert.Equal(HealthCheckResponse.Types.ServingStatus.Serving, watch.ResponseStream.Current.Status);

        var stopping = sidecar.StopAsync();
        do
        {
            // The same status may be told again.
            Assert.True(await watch.ResponseStream.MoveNext(Cancelled));
        }
        while (watch.ResponseStream.Current.Status == HealthCheckResponse.Types.ServingStatus.Serving);

        Assert.Equal(HealthCheckResponse.Types.ServingStatus.NotServing, watch.ResponseStream.Current.Status);

        // Watch hears of the signal itself, Check a moment later of the drain that it begins.
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(10));
        var status = HealthCheckResponse.Types.ServingStatus.Serving;
        for (var attempt = 0; attempt < 100 && status == HealthCheckResponse.Types.ServingStatus.Serving; attempt++)
        {
            await timer.WaitForNextTickAsync(Cancelled);
            status = (await health.CheckAsync(new HealthCheckRequest(), cancellationToken: Cancelled)).Status;
        }

        Assert.Equal(HealthCheckResponse.Types.ServingStatus.NotServing, status);

        // The delay is for callers that have not looked yet: they are served until it is over.
        await wire.FilterAsync(BadInput.BadRequest.Good());
        Assert.Equal(0, await stopping);
    }

    [Fact]
    public async Task Check_UnknownServiceAndReflectionNotEnabled_AreRefused()
    {
        await using var sidecar = await SidecarProcess.StartAsync();
        using var wire = Wire.Tcp(sidecar);
        var health = new Health.HealthClient(wire.Channel);
        var error = await Assert.ThrowsAsync<RpcException>(
            () => health.CheckAsync(new HealthCheckRequest { Service = "nobody" }, cancellationToken: Cancelled).ResponseAsync);
        Assert.Equal(StatusCode.NotFound, error.StatusCode);

        // Reflection tells every caller the API: only who asks for it has it.
        using var reflection = new ServerReflection.ServerReflectionClient(wire.Channel).ServerReflectionInfo(cancellationToken: Cancelled);
        var absent = await Assert.ThrowsAsync<RpcException>(() => reflection.ResponseStream.MoveNext(Cancelled));
        Assert.Equal(StatusCode.Unimplemented, absent.StatusCode);
    }

    [Fact]
    public async Task Reflection_Enabled_TellsTheServicesAndTheirFiles()
    {
        await using var sidecar = await SidecarProcess.StartAsync(("Reflection", "true"));
        using var wire = Wire.Tcp(sidecar);
        var services = await ReflectAsync(wire, new ServerReflectionRequest { ListServices = "" });
        var names = services.ListServicesResponse.Service.Select(static service => service.Name).ToList();
        Assert.Contains(ServiceName, names);
        Assert.Contains("grpc.health.v1.Health", names);

        var file = await ReflectAsync(wire, new ServerReflectionRequest { FileContainingSymbol = ServiceName });
        var described = FileDescriptorProto.Parser.ParseFrom(file.FileDescriptorResponse.FileDescriptorProto[0]);
        Assert.Equal(["Filter", "FilterStream"], Assert.Single(described.Service).Method.Select(static method => method.Name));
    }

    [Theory]
    [InlineData("true", true)]
    [InlineData("false", false)]
    public async Task Check_NoClassifierCanBeCalledAndOneIsHard_IsNotServingIfSet(string setting, bool leaves)
    {
        var folder = Directory.CreateTempSubdirectory("sf-hard-");
        try
        {
            foreach (var (surface, classifiers) in new[] { ("hard", "text-safety/hate: { fail: closed, hard: true }"), ("soft", "embedding-safety/hate: { fail: open }") })
            {
                await File.WriteAllTextAsync(
                    Path.Combine(folder.FullName, surface + ".yaml"),
                    $$"""
                    policy: {{surface}}
                    owner: tests
                    surfaces: [{{surface}}]
                    budget_us: 1000000
                    classifiers: { {{classifiers}} }
                    rules:
                      - { id: block-hate, when: { score: {{classifiers[..classifiers.IndexOf(':', StringComparison.Ordinal)]}}, at_least: 0.9 }, action: block, reason: HATE }
                    """,
                    Cancelled);
            }

            var socket = Path.Combine(folder.FullName, "operations.sock");
            await using var sidecar = await SidecarProcess.StartAsync(
                ("Policies__Folder", folder.FullName), ("Operations__UnixSocket", socket), ("Health__NotServingWhenHardClassifierDown", setting));
            using var wire = Wire.Tcp(sidecar);
            using var operatorWire = Wire.Unix(socket);
            var operations = new Stub(operatorWire.Channel);
            var health = new Health.HealthClient(wire.Channel);
            using var watch = health.Watch(new HealthCheckRequest { Service = ServiceName + "/hard" }, cancellationToken: Cancelled);
            Assert.True(await watch.ResponseStream.MoveNext(Cancelled));
            Assert.Equal(HealthCheckResponse.Types.ServingStatus.Serving, watch.ResponseStream.Current.Status);
            await AssertServingAsync(health, true, true, true, true);

            // One surface has nothing left, and the sidecar has.
            await operations.IsolateBreakerAsync(new BreakerRequest { Bundle = "text-safety" }, cancellationToken: Cancelled);
            await AssertServingAsync(health, true, true, !leaves, true);
            var status = await operations.GetStatusAsync(new GetStatusRequest(), cancellationToken: Cancelled);
            Assert.Contains("surface hard: no classifier can be called, and as one is hard every candidate is blocked", status.Troubles);

            // Out of rotation or not, whoever asks is answered as the policy says.
            Assert.Equal([V1.Action.Block], (await wire.FilterAsync(Wire.Page("one", "hard", "Ten quiet walks"))).Actions);

            await operations.IsolateBreakerAsync(new BreakerRequest { Bundle = "embedding-safety" }, cancellationToken: Cancelled);
            await AssertServingAsync(health, !leaves, !leaves, !leaves, true);

            await operations.CloseBreakerAsync(new BreakerRequest { Bundle = "text-safety" }, cancellationToken: Cancelled);
            await AssertServingAsync(health, true, true, true, true);
            if (leaves)
            {
                // As soon as it looks; it need not have looked in between.
                await operations.IsolateBreakerAsync(new BreakerRequest { Bundle = "text-safety" }, cancellationToken: Cancelled);
                do
                {
                    Assert.True(await watch.ResponseStream.MoveNext(Cancelled));
                }
                while (watch.ResponseStream.Current.Status == HealthCheckResponse.Types.ServingStatus.Serving);

                Assert.Equal(HealthCheckResponse.Types.ServingStatus.NotServing, watch.ResponseStream.Current.Status);
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static async Task AssertServingAsync(Health.HealthClient health, bool whole, bool service, bool hard, bool soft)
    {
        foreach (var (name, serves) in new[] { ("", whole), (ServiceName, service), (ServiceName + "/hard", hard), (ServiceName + "/soft", soft) })
        {
            var answer = await health.CheckAsync(new HealthCheckRequest { Service = name }, cancellationToken: Cancelled);
            Assert.Equal((name, serves), (name, answer.Status == HealthCheckResponse.Types.ServingStatus.Serving));
        }
    }

    private static async Task<HealthCheckResponse.Types.ServingStatus> FirstAnswerAsync(Health.HealthClient health, string socket)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(20));
        while (!File.Exists(socket))
        {
            await timer.WaitForNextTickAsync(Cancelled);
        }

        // The file is there an instant before the process listens on it.
        var call = health.CheckAsync(new HealthCheckRequest(), new CallOptions(deadline: DateTime.UtcNow.AddSeconds(60)).WithWaitForReady());
        return (await call).Status;
    }

    private static async Task<ServerReflectionResponse> ReflectAsync(Wire wire, ServerReflectionRequest request)
    {
        using var call = new ServerReflection.ServerReflectionClient(wire.Channel).ServerReflectionInfo(cancellationToken: Cancelled);
        await call.RequestStream.WriteAsync(request, Cancelled);
        await call.RequestStream.CompleteAsync();
        Assert.True(await call.ResponseStream.MoveNext(Cancelled));
        return call.ResponseStream.Current;
    }

    [LibraryImport("libc", EntryPoint = "mkfifo", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MakeFifo(string path, uint mode);
}
