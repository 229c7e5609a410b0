using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;
using Grpc.Net.Compression;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.BadInput;

public sealed class BadInputSidecar : IAsyncLifetime
{
    internal SidecarProcess Sidecar { get; private set; } = null!;

    internal Wire Wire { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Sidecar = await SidecarProcess.StartAsync(
            ("Limits__MaxMessageBytes", BadRequest.MessageLimit.ToString(System.Globalization.CultureInfo.InvariantCulture)));
        Wire = Wire.Tcp(Sidecar);
    }

    public async ValueTask DisposeAsync()
    {
        Wire.Dispose();
        await Sidecar.DisposeAsync();
    }
}

/// <summary>A caller's mistake is answered as such, by name, and harms nobody else.</summary>
public sealed class BadInputTests(BadInputSidecar fixture) : IClassFixture<BadInputSidecar>
{
    private static readonly StatusCode[] Blaming =
        [StatusCode.InvalidArgument, StatusCode.NotFound, StatusCode.PermissionDenied, StatusCode.ResourceExhausted];

    public static TheoryData<string> Mistakes => [.. BadRequest.All.Keys];

    [Theory]
    [MemberData(nameof(Mistakes))]
    public async Task Filter_Mistake_IsRefusedByName(string mistake)
    {
        var bad = BadRequest.All[mistake];
        var status = await fixture.Wire.RefusedAsync(bad.Bytes);
        Assert.Equal(bad.Code, status.StatusCode);
        Assert.StartsWith(bad.Message, status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task FilterStream_EveryMistakeBetweenGoodRequests_IsAnsweredInOrderAndTheStreamGoesOn()
    {
        var requests = new List<byte[]>();
        foreach (var (mistake, bad) in BadRequest.All)
        {
            requests.Add(bad.Bytes);
            requests.Add(BadRequest.Good("after " + mistake).ToByteArray());
        }

        var replies = await fixture.Wire.StreamAsync(requests);

        Assert.Equal(requests.Count, replies.Count);
        foreach (var ((mistake, bad), pair) in BadRequest.All.Zip(replies.Chunk(2)))
        {
            Assert.Equal(FilterStreamResponse.OutcomeOneofCase.Error, pair[0].OutcomeCase);
            Assert.Equal((mistake, bad.Code), (mistake, (StatusCode)pair[0].Error.Code));
            Assert.StartsWith(bad.Message, pair[0].Error.Message, StringComparison.Ordinal);
            Assert.Equal("after " + mistake, pair[1].Response?.RequestId);
        }

        // The id is echoed when it could be read before the mistake was met.
        Assert.Equal("good", replies[0].Error.RequestId);
    }

    [Fact]
    public async Task Filter_MessageOverTwiceTheLimit_IsResourceExhausted() =>
        Assert.Equal(StatusCode.ResourceExhausted, (await fixture.Wire.RefusedAsync(BadRequest.Over(BadRequest.MessageLimit * 2 + 1))).StatusCode);

    [Fact]
    public async Task FilterStream_MessageOverTwiceTheLimit_EndsTheStreamAsResourceExhausted()
    {
        using var call = fixture.Wire.Stream();
        await call.RequestStream.WriteAsync(BadRequest.Good("before").ToByteArray(), Cancelled);
        Assert.True(await call.ResponseStream.MoveNext(Cancelled));
        var writing = call.RequestStream.WriteAsync(BadRequest.Over(BadRequest.MessageLimit * 3), Cancelled);
        var error = await Assert.ThrowsAsync<RpcException>(() => call.ResponseStream.MoveNext(Cancelled));
        Assert.Equal(StatusCode.ResourceExhausted, error.StatusCode);

        // The sidecar may have answered before it had taken all of it.
        await writing.ContinueWith(static _ => { }, Cancelled, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
    }

    [Fact]
    public async Task Filter_CorruptCompression_IsRefusedAsNotOffered()
    {
        using var channel = GrpcChannel.ForAddress(fixture.Sidecar.Tcp, new GrpcChannelOptions { CompressionProviders = [new Corrupt()] });
        var error = await Assert.ThrowsAsync<RpcException>(
            () => new V1.SafetyFilter.SafetyFilterClient(channel).FilterAsync(
                BadRequest.Good(), new Metadata { { "grpc-internal-encoding-request", "gzip" } }, cancellationToken: Cancelled).ResponseAsync);
        Assert.Equal(StatusCode.Unimplemented, error.StatusCode);
        Assert.Contains("gzip", error.Status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Filter_DuplicateIds_AreDecidedIndependently()
    {
        var request = BadRequest.Good();
        request.CandidateIds[1] = request.CandidateIds[0];
        request.CandidateIds.Add(request.CandidateIds[0]);
        request.Texts[0].Values.Add(request.Texts[0].Values[0]);
        var response = await fixture.Wire.FilterAsync(request);
        Assert.Equal(3, response.Actions.Count);
        var scores = response.Scores.Chunk(3).ToList();
        Assert.All(scores, static row => Assert.Equal(BitConverter.SingleToUInt32Bits(row[0]), BitConverter.SingleToUInt32Bits(row[2])));
        Assert.Contains(scores, static row => row[0] != row[1]);
    }

    [Fact]
    public async Task Filter_Refused_RecordsNothing()
    {
        await fixture.Wire.RefusedAsync(BadRequest.All["unknown surface"].Bytes);
        var request = BadRequest.Good("recorded " + Guid.NewGuid());
        var response = await fixture.Wire.FilterAsync(request);
        var records = SpoolRecords.Decisions(fixture.Sidecar.Spool);
        Assert.Equal(response.Receipt.Sequence, Assert.Single(records, record => record.RequestId == request.RequestId).Sequence);
        Assert.DoesNotContain(records, static record => record.Surface == "for_you");
    }

    [Fact]
    public async Task FilterStream_BytesChangedAtRandom_AreDecidedOrBlamedOnTheCaller()
    {
        // A fixed seed: a failure can be looked at again.
        var random = new Random(20260601);
        var requests = new List<byte[]>();
        for (var i = 0; i < 600; i++)
        {
            var bytes = BadRequest.All.Values.ElementAt(random.Next(BadRequest.All.Count)) is var bad && bad.Bytes.Length < 10_000 && random.Next(2) == 0
                ? bad.Bytes.ToArray()
                : BadRequest.Good().ToByteArray();
            for (var change = random.Next(1, 6); change > 0 && bytes.Length > 0; change--)
            {
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            }

            requests.Add(bytes);
        }

        var replies = await fixture.Wire.StreamAsync(requests);

        Assert.Equal(requests.Count, replies.Count);
        Assert.All(replies, static reply => Assert.True(
            reply.OutcomeCase == FilterStreamResponse.OutcomeOneofCase.Response || Blaming.Contains((StatusCode)reply.Error.Code), reply.ToString()));
        Assert.Contains(replies, static reply => reply.Response is not null);
        Assert.Contains(replies, static reply => reply.Error is not null);
    }

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    /// <summary>Says gzip and writes what is none.</summary>
    private sealed class Corrupt : ICompressionProvider
    {
        public string EncodingName => "gzip";

        public Stream CreateCompressionStream(Stream stream, System.IO.Compression.CompressionLevel? compressionLevel)
        {
            stream.Write("not gzip"u8);
            return Stream.Null;
        }

        public Stream CreateDecompressionStream(Stream stream) => stream;
    }
}
