using System.Text.Json;
using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.Observability;

namespace SafetyFilter.FunctionalTests.Host;

public sealed class TelemetryTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Metrics_AfterTraffic_CountRequestsActionsDegradationsAndTheLedger()
    {
        // More than the breaker needs to open.
        const int Requests = 25;
        await using var sidecar = await SidecarProcess.StartAsync(("Chaos__Enabled", "true"), ("Chaos__Bundles__text-safety__FaultRate", "1"));
        using var wire = Wire.Tcp(sidecar);
        for (var call = 0; call < Requests; call++)
        {
            await wire.FilterAsync(BadInput.BadRequest.Good());
        }

        await wire.RefusedAsync(BadInput.BadRequest.All["no candidates"].Bytes);
        await wire.RefusedAsync(BadInput.BadRequest.All["unknown surface"].Bytes);

        var scraped = await Scraped.FromAsync(sidecar);
        Assert.Equal(Requests, scraped.Value("safetyfilter_requests", "outcome=\"ok\"", "surface=\"for-you\""));
        Assert.Equal(1, scraped.Value("safetyfilter_requests", "outcome=\"invalid_argument\""));
        Assert.Equal(1, scraped.Value("safetyfilter_requests", "outcome=\"not_found\""));
        Assert.Equal(Requests * 2, scraped.Value("safetyfilter_candidates", "action=\"block\"", "surface=\"for-you\""));
        Assert.Equal(40, scraped.Value("safetyfilter_degraded_candidates", "surface=\"for-you\"", "classifier=\"text-safety/hate\"", "cause=\"error\"", "mode=\"closed\""));
        Assert.Equal(10, scraped.Value("safetyfilter_degraded_candidates", "surface=\"for-you\"", "classifier=\"text-safety/spam\"", "cause=\"breaker_open\"", "mode=\"open\""));
        Assert.Equal(1, scraped.Value("safetyfilter_breaker_transitions", "bundle=\"text-safety\"", "state=\"open\""));
        Assert.Equal(Requests, scraped.Value("safetyfilter_engine_duration_seconds_count", "surface=\"for-you\""));
        Assert.True(scraped.Value("safetyfilter_ledger_records") >= Requests);

        // What a caller sends is no label: anybody could fill the memory of whoever scrapes.
        Assert.DoesNotContain("for_you", scraped.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Filter_TraceContextOfTheCaller_IsInTheRecord()
    {
        const string Trace = "0af7651916cd43dd8448eb211c80319c";
        const string Span = "b7ad6b7169203331";
        await using var sidecar = await SidecarProcess.StartAsync();
        using var wire = Wire.Tcp(sidecar);
        foreach (var flags in new[] { "00", "01" })
        {
            var traced = await wire.FilterAsync(BadInput.BadRequest.Good(), new Metadata { { "traceparent", $"00-{Trace}-{Span}-{flags}" } });
            var record = SpoolRecords.Find(sidecar.Spool, traced.Receipt.Sequence).Decision;
            Assert.Equal((Trace, Span), (Hex(record.TraceId), Hex(record.SpanId)));
        }

        foreach (var headers in new[] { null, new Metadata { { "traceparent", "00-nonsense" } } })
        {
            var untraced = await wire.FilterAsync(BadInput.BadRequest.Good(), headers);
            var record = SpoolRecords.Find(sidecar.Spool, untraced.Receipt.Sequence).Decision;
            Assert.Equal((0, 0), (record.TraceId.Length, record.SpanId.Length));
        }
    }

    [Fact]
    public async Task FilterStream_TraceContextOfTheCaller_IsInEveryRecord()
    {
        await using var sidecar = await SidecarProcess.StartAsync();
        using var wire = Wire.Tcp(sidecar);
        using var stream = wire.Stream(new Metadata { { "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" } });
        for (var call = 0; call < 3; call++)
        {
            await stream.RequestStream.WriteAsync(BadInput.BadRequest.Good().ToByteArray(), Cancelled);
            Assert.True(await stream.ResponseStream.MoveNext(Cancelled));
        }

        await stream.RequestStream.CompleteAsync();
        Assert.False(await stream.ResponseStream.MoveNext(Cancelled));
        var records = SpoolRecords.Decisions(sidecar.Spool);
        Assert.Equal(3, records.Count);
        Assert.All(records, static record => Assert.Equal("b7ad6b7169203331", Hex(record.SpanId)));
    }

    [Fact]
    public async Task Export_CollectorIsNamed_GetsTheCallersTraceAndTheMetricsBeforeTheEnd()
    {
        const string Trace = "0af7651916cd43dd8448eb211c80319c";
        await using var collector = await OtlpCollector.StartAsync();
        await using var sidecar = await SidecarProcess.StartAsync(("Telemetry__OtlpEndpoint", collector.Endpoint));
        using (var wire = Wire.Tcp(sidecar))
        {
            await wire.FilterAsync(BadInput.BadRequest.Good(), new Metadata { { "traceparent", $"00-{Trace}-b7ad6b7169203331-01" } });
        }

        Assert.Equal(0, await sidecar.StopAsync());
        Assert.Contains(collector.Traces, static sent => sent.AsSpan().IndexOf(Convert.FromHexString(Trace)) >= 0);
        Assert.Contains(collector.Metrics, static sent => sent.AsSpan().IndexOf("safetyfilter.requests"u8) >= 0);
    }

    [Fact]
    public async Task Log_FromStartToStop_IsOneJsonObjectPerLineWithStableEventIds()
    {
        await using var sidecar = await SidecarProcess.StartAsync(
            ("Chaos__Enabled", "true"), ("Chaos__Bundles__text-safety__FaultRate", "1"), ("Breaker__MinimumThroughput", "2"));
        using var wire = Wire.Tcp(sidecar);
        await wire.FilterAsync(BadInput.BadRequest.Good());
        await wire.FilterAsync(BadInput.BadRequest.Good());
        Assert.Equal(0, await sidecar.StopAsync());

        var events = new List<(int Id, string Level)>();
        foreach (var line in sidecar.Output)
        {
            using var json = JsonDocument.Parse(line);
            events.Add((json.RootElement.GetProperty("EventId").GetInt32(), json.RootElement.GetProperty("LogLevel").GetString()!));
        }

        Assert.Contains((EventIds.BundleLoaded, "Information"), events);
        Assert.Contains((EventIds.ChaosEnabled, "Warning"), events);
        Assert.Contains((EventIds.Serving, "Information"), events);
        Assert.Contains((EventIds.BreakerOpened, "Warning"), events);
        Assert.Contains((EventIds.LedgerClosed, "Information"), events);
    }

    [Theory]
    [InlineData("""{"EventId":1101,"LogLevel":"Error","Message":"x"}""", true)]
    [InlineData("""{"EventId":1102,"LogLevel":"Critical","Message":"x"}""", true)]
    [InlineData("Unhandled exception. System.Exception: x", true)]
    [InlineData("""{"EventId":1001,"LogLevel":"Critical","Message":"expected"}""", false)]
    [InlineData("""{"EventId":1200,"LogLevel":"Warning","Message":"x"}""", false)]
    [InlineData("""{"EventId":1101,"LogLev""", false)]
    public void UnexpectedError_LineOfASidecar_FailsTheTestThatDidNotMeanIt(string line, bool fails) =>
        Assert.Equal(fails ? line : null, SidecarProcess.UnexpectedError([line], new HashSet<int> { 1001 }));

    private static string Hex(ByteString bytes) => Convert.ToHexStringLower(bytes.Span);
}
