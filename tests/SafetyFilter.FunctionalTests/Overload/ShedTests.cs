using System.Net;
using System.Net.Http.Headers;
using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.Client;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Operations.V1;
using FailureKind = SafetyFilter.V1.FailureKind;
using Stub = SafetyFilter.Operations.V1.Operations.OperationsClient;

namespace SafetyFilter.FunctionalTests.Overload;

public sealed class ShedTests : IDisposable
{
    // Shorter than the longest budget, at which a run is cut.
    private static readonly TimeSpan Service = TimeSpan.FromMilliseconds(800);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-shed-");

    private string OperationsSocket => Path.Combine(_folder.FullName, "operations.sock");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task Filter_NoPlaceInTime_IsRefusedWithPushbackServedByFailModeOrToldInTheStream()
    {
        await using var sidecar = await SlowEngine.StartAsync(Service, ("Operations__UnixSocket", OperationsSocket), ("Admission__Places", "1"), ("Admission__MaxWait", "00:00:00.050"));
        using var wire = Wire.Tcp(sidecar);
        var first = wire.FilterAsync(SlowEngine.Page("first", SlowEngine.Usual));
        await UntilAsync(static now => now.InFlight, 1, first);

        // Together, while the first one has the only place.
        var serving = wire.FilterAsync(SlowEngine.Page("served", SlowEngine.ByFailMode));
        var streaming = wire.StreamAsync([SlowEngine.Page("streamed", SlowEngine.Usual).ToByteArray()]);
        AssertPushedBack(await Assert.ThrowsAsync<RpcException>(() => wire.FilterAsync(SlowEngine.Page("refused", SlowEngine.Usual))));

        var served = await serving;
        var replies = await streaming;
        Assert.False(first.IsCompleted, "The machine is so slow that the first request ended before the others were tried.");
        Assert.Equal([V1.Action.Block], served.Actions);
        Assert.Equal(FailureKind.Shed, Assert.Single(served.Degradations).Failure);
        Assert.Equal(
            DecisionRecord.Types.FailureKind.Shed, Assert.Single(SpoolRecords.Find(sidecar.Spool, served.Receipt.Sequence).Decision.Degradations).Failure);

        Assert.Equal((uint)StatusCode.ResourceExhausted, (uint)Assert.Single(replies).Error.Code);
        Assert.Equal(0u, (await first).QueueMicros / 1_000_000);

        var scraped = await Scraped.FromAsync(sidecar);
        Assert.Equal(2, scraped.Value("safetyfilter_admission_shed", "surface=\"usual\"", "reason=\"waited_too_long\"", "outcome=\"refused\""));
        Assert.Equal(1, scraped.Value("safetyfilter_admission_shed", "surface=\"by-fail-mode\"", "reason=\"waited_too_long\"", "outcome=\"fail_mode\""));
        Assert.Equal(2, scraped.Value("safetyfilter_requests", "outcome=\"overloaded\""));
        Assert.Equal(0, scraped.Value("safetyfilter_breaker_transitions"));

        Assert.Equal(0, await sidecar.StopAsync());
        var sheds = SpoolRecords.Read(sidecar.Spool).Where(static record => record.Type == RecordType.Shed).Select(static record => Shed.Parser.ParseFrom(record.Bytes)).ToList();
        Assert.Equal((2ul, 1ul), (sheds.Aggregate(0ul, static (sum, shed) => sum + shed.Refused), sheds.Aggregate(0ul, static (sum, shed) => sum + shed.ServedByFailMode)));
        SpoolRecords.Verify(sidecar.Spool);
    }

    [Fact]
    public async Task Filter_LineIsFull_IsRefusedBeforeItsBodyIsReadUnlessItsSurfaceGoesFirst()
    {
        await using var sidecar = await SlowEngine.StartAsync(Service, ("Operations__UnixSocket", OperationsSocket), ("Admission__Places", "1"), ("Admission__MaxWaiting", "1"));
        using var wire = Wire.Tcp(sidecar);
        var first = wire.FilterAsync(SlowEngine.Page("first", SlowEngine.Usual));
        await UntilAsync(static now => now.InFlight, 1, first);
        var low = wire.FilterAsync(SlowEngine.Page("low", SlowEngine.Low));
        await UntilAsync(static now => now.Waiting, 1, low);

        // It is not even a message, which nobody finds out.
        var refused = await Assert.ThrowsAsync<RpcException>(() => wire.FilterAsync([0xFF], new Metadata { { "safetyfilter-surface", SlowEngine.Low } }));
        AssertPushedBack(refused);

        var high = await wire.FilterAsync(SlowEngine.Page("high", SlowEngine.High), new Metadata { { "safetyfilter-surface", SlowEngine.High } });
        Assert.InRange(high.QueueMicros, 1u, 60_000_000u);
        AssertPushedBack(await Assert.ThrowsAsync<RpcException>(() => low));
        Assert.Single((await first).Actions);

        var scraped = await Scraped.FromAsync(sidecar);
        Assert.Equal(1, scraped.Value("safetyfilter_admission_shed", "surface=\"low\"", "reason=\"full\""));
        Assert.Equal(1, scraped.Value("safetyfilter_admission_shed", "surface=\"low\"", "reason=\"displaced\""));
        Assert.Equal(0, scraped.Value("safetyfilter_requests", "outcome=\"invalid_argument\""));
    }

    [Fact]
    public async Task Filter_LineIsFull_IsRefusedBeforeItsBodyByWhateverSpellingItIsReached()
    {
        await using var sidecar = await SlowEngine.StartAsync(Service, ("Operations__UnixSocket", OperationsSocket), ("Admission__Places", "1"), ("Admission__MaxWaiting", "1"));
        using var wire = Wire.Tcp(sidecar);
        var first = wire.FilterAsync(SlowEngine.Page("first", SlowEngine.Usual));
        await UntilAsync(static now => now.InFlight, 1, first);
        var second = wire.FilterAsync(SlowEngine.Page("second", SlowEngine.Usual));
        await UntilAsync(static now => now.Waiting, 1, first);

        using var http = new HttpClient();
        foreach (var path in new[] { "SafetyFilter/Filter", "SafetyFilter/Filter/", "safetyfilter/FILTER", "SafetyFilter/%46ilter" })
        {
            // One byte, which begins no message: whoever read it would call it invalid.
            using var body = new ByteArrayContent([0, 0, 0, 0, 1, 0xFF]);
            body.Headers.ContentType = new MediaTypeHeaderValue("application/grpc");
            using var request = new HttpRequestMessage(HttpMethod.Post, $"{sidecar.Tcp}/safetyfilter.v1.{path}")
            {
                Version = HttpVersion.Version20,
                VersionPolicy = HttpVersionPolicy.RequestVersionExact,
                Content = body,
            };
            request.Headers.Add("safetyfilter-surface", SlowEngine.Usual);
            request.Headers.TE.Add(new TransferCodingWithQualityHeaderValue("trailers"));
            using var response = await http.SendAsync(request, TestContext.Current.CancellationToken);

            Assert.True(response.Headers.TryGetValues("grpc-status", out var status), $"{path}: {response} {response.TrailingHeaders}");
            Assert.Equal((path, "8"), (path, Assert.Single(status)));
        }

        Assert.False(first.IsCompleted, "The machine is so slow that the first request ended before the others were tried.");
        await Task.WhenAll(first, second);
    }

    [Fact]
    public async Task Filter_CallerGoesWhileItWaits_IsNeitherDecidedNorRecordedNorCountedAsShed()
    {
        await using var sidecar = await SlowEngine.StartAsync(Service, ("Operations__UnixSocket", OperationsSocket), ("Admission__Places", "1"));
        using var wire = Wire.Tcp(sidecar);
        var first = wire.FilterAsync(SlowEngine.Page("first", SlowEngine.Usual));
        await UntilAsync(static now => now.InFlight, 1, first);
        using var leaving = new CancellationTokenSource();
        var unary = wire.FilterAsync(SlowEngine.Page("unary", SlowEngine.ByFailMode), leaving.Token);
        using var stream = wire.Stream();
        await stream.RequestStream.WriteAsync(SlowEngine.Page("streamed", SlowEngine.Usual).ToByteArray(), TestContext.Current.CancellationToken);
        await UntilAsync(static now => now.Waiting, 2, first);

        await leaving.CancelAsync();
        stream.Dispose();

        Assert.Equal(StatusCode.Cancelled, (await Assert.ThrowsAsync<RpcException>(() => unary)).StatusCode);
        await UntilAsync(static now => now.Waiting, 0, first);
        await first;
        await wire.FilterAsync(SlowEngine.Page("last", SlowEngine.Usual));

        var scraped = await Scraped.FromAsync(sidecar);
        Assert.Equal(2, scraped.Value("safetyfilter_requests", "outcome=\"caller_gone\""));
        Assert.Equal(0, scraped.Value("safetyfilter_admission_shed"));
        Assert.Equal(0, await sidecar.StopAsync());
        Assert.Equal(["first", "last"], SpoolRecords.Decisions(sidecar.Spool).Select(static decision => decision.RequestId));
        Assert.DoesNotContain(SpoolRecords.Read(sidecar.Spool), static record => record.Type == RecordType.Shed);
    }

    /// <summary>No surface is served by fail mode here, so that nobody is read who has not named a surface that goes first.</summary>
    [Fact]
    public async Task Filter_LineIsFull_ClientLibrarysHighSurfaceIsLetInWhereItsLowOneIsRefused()
    {
        await using var sidecar = await SlowEngine.StartAsync(
            Service, [SlowEngine.Usual, SlowEngine.Low, SlowEngine.High],
            ("Operations__UnixSocket", OperationsSocket), ("Admission__Places", "1"), ("Admission__MaxWaiting", "1"), ("Admission__MaxWait", "00:00:30"));
        using var wire = Wire.Tcp(sidecar);
        using var client = sidecar.TcpClient();
        var first = wire.FilterAsync(SlowEngine.Page("first", SlowEngine.Usual));
        await UntilAsync(static now => now.InFlight, 1, first);
        var second = wire.FilterAsync(SlowEngine.Page("second", SlowEngine.Usual));
        await UntilAsync(static now => now.Waiting, 1, second);

        AssertPushedBack(await Assert.ThrowsAsync<RpcException>(
            async () => await client.FilterAsync(Query(SlowEngine.Low), TestContext.Current.CancellationToken)));
        var high = await client.FilterAsync(Query(SlowEngine.High), TestContext.Current.CancellationToken);

        Assert.Equal(VerdictBasis.Evaluated, Assert.Single(high).Basis);
        AssertPushedBack(await Assert.ThrowsAsync<RpcException>(() => second));
        Assert.Single((await first).Actions);
        Assert.Equal(1, (await Scraped.FromAsync(sidecar)).Value("safetyfilter_admission_shed", "surface=\"low\"", "reason=\"full\""));

        static FilterQuery Query(string surface)
        {
            var query = new FilterQuery { Surface = surface };
            query.AddCandidate("video:0").Text("text", "Ten quiet walks");
            return query;
        }
    }

    private static void AssertPushedBack(RpcException error)
    {
        Assert.Equal(StatusCode.ResourceExhausted, error.StatusCode);
        Assert.StartsWith("The safety filter is busier than it can answer in time.", error.Status.Detail, StringComparison.Ordinal);
        Assert.Equal("-1", error.Trailers.GetValue("grpc-retry-pushback-ms"));
    }

    // Of the metrics it would be told late: their exporter gives the same answer for a good part of a service.
    private async Task UntilAsync(Func<AdmissionStatus, uint> count, uint value, Task request)
    {
        using var operations = Wire.Unix(OperationsSocket);
        var stub = new Stub(operations.Channel);
        while (count((await stub.GetStatusAsync(new GetStatusRequest(), cancellationToken: TestContext.Current.CancellationToken)).Admission) != value)
        {
            Assert.False(request.IsCompleted, "The request that this is about was answered.");
        }
    }
}
