using System.Collections.Concurrent;
using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>However a sidecar ends, what it answered is on record.</summary>
public sealed class StopTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Terminate_StreamAndCallsInFlight_AnswersOrSaysUnavailableAndClosesTheLedger()
    {
        await using var sidecar = await SidecarProcess.StartAsync();
        using var wire = Wire.Tcp(sidecar);
        var answered = new ConcurrentBag<Receipt>();
        var busy = StreamUntilItEndsAsync(wire, answered);
        var callers = Enumerable.Range(0, 4).Select(caller => CallUntilItFailsAsync(wire, caller, answered)).ToList();
        Assert.True(SpinWait.SpinUntil(() => answered.Count > 100, TimeSpan.FromSeconds(30)));

        Assert.Equal(0, await sidecar.StopAsync());

        Assert.Equal(StatusCode.Unavailable, await busy);
        foreach (var caller in callers)
        {
            Assert.Equal(StatusCode.Unavailable, await caller);
        }

        Assert.False(File.Exists(sidecar.ReadyFile));
        SpoolRecords.Verify(sidecar.Spool);
        var records = SpoolRecords.Read(sidecar.Spool);
        Assert.Equal(RecordType.EpochEnd, records[^1].Type);
        Assert.Equal((ulong)records.Count(static record => record.Type == RecordType.Decision), EpochEnd.Parser.ParseFrom(records[^1].Bytes).Decisions);
        AllOnRecord(answered, records);
    }

    [Fact]
    public async Task Terminate_IdleStream_IsToldToComeBack()
    {
        await using var sidecar = await SidecarProcess.StartAsync(("Drain__Timeout", "00:00:30"));
        using var wire = Wire.Tcp(sidecar);
        using var stream = wire.Stream();
        await AskAsync(stream, "before");
        var next = stream.ResponseStream.MoveNext(Cancelled);
        Assert.Equal(0, await sidecar.StopAsync());
        var told = await Assert.ThrowsAsync<RpcException>(() => next);
        Assert.Equal(new Status(StatusCode.Unavailable, "The safety filter is stopping. Open the stream again."), told.Status);
    }

    [Fact]
    public async Task Kill_WhileCallsAreInFlight_LosesNoAcknowledgedRecordAndTheNextRunGoesOn()
    {
        await using var sidecar = await SidecarProcess.StartAsync();
        var answered = new ConcurrentBag<Receipt>();
        const int Kills = 3;
        for (var kill = 1; kill <= Kills; kill++)
        {
            using var wire = Wire.Unix(sidecar.UnixSocket);
            var enough = answered.Count + 100;
            var callers = Enumerable.Range(0, 4).Select(caller => CallUntilItFailsAsync(wire, caller, answered)).ToList();
            Assert.True(SpinWait.SpinUntil(() => answered.Count > enough, TimeSpan.FromSeconds(30)));
            await sidecar.KillAsync();
            await Task.WhenAll(callers);
            Assert.True(File.Exists(sidecar.UnixSocket), "The killed sidecar leaves its socket behind, or this test shows nothing.");
            await sidecar.RestartAsync();
        }

        using var last = Wire.Unix(sidecar.UnixSocket);
        var after = (await last.FilterAsync(BadInput.BadRequest.Good())).Receipt;
        answered.Add(after);
        Assert.Equal(Kills + 1u, after.Epoch);
        Assert.Equal(0, await sidecar.StopAsync());

        SpoolRecords.Verify(sidecar.Spool);
        var records = SpoolRecords.Read(sidecar.Spool);
        AllOnRecord(answered, records);
        var starts = records.Where(static record => record.Type == RecordType.EpochStart).Select(static record => EpochStart.Parser.ParseFrom(record.Bytes)).ToList();
        Assert.Equal([1u, 2, 3, 4], starts.Select(static start => start.Epoch));
        Assert.All(starts.Skip(1), static start => Assert.False(start.PreviousEndedCleanly));
        Assert.Single(records, static record => record.Type == RecordType.EpochEnd);
    }

    [Fact]
    public async Task Terminate_ThenStart_IsANewEpochAfterACleanEnd()
    {
        await using var sidecar = await SidecarProcess.StartAsync();
        Assert.Equal(0, await sidecar.StopAsync());
        await sidecar.RestartAsync();
        Assert.Equal(0, await sidecar.StopAsync());
        var records = SpoolRecords.Read(sidecar.Spool).Where(static record => record.Type is RecordType.EpochStart or RecordType.EpochEnd).ToList();
        Assert.Equal(
            [RecordType.EpochStart, RecordType.EpochEnd, RecordType.EpochStart, RecordType.EpochEnd], records.Select(static record => record.Type));
        var start = EpochStart.Parser.ParseFrom(records[2].Bytes);
        Assert.Equal((2u, 1u, records[1].Sequence, true), (start.Epoch, start.PreviousEpoch, start.PreviousSequence, start.PreviousEndedCleanly));
    }

    private static void AllOnRecord(IEnumerable<Receipt> answered, List<SpoolRecord> records)
    {
        var bySequence = records.ToDictionary(static record => record.Sequence);
        var leaves = answered.ToList();
        Assert.Equal(leaves.Count, leaves.Select(static receipt => receipt.Sequence).Distinct().Count());
        Assert.All(leaves, receipt =>
        {
            Assert.True(bySequence.TryGetValue(receipt.Sequence, out var record), $"Sequence {receipt.Sequence} was acknowledged and is not on record.");
            Assert.Equal(receipt.LeafHash.ToByteArray(), System.Security.Cryptography.SHA256.HashData([0, .. record.Bytes]));
        });
    }

    private static async Task<StatusCode> CallUntilItFailsAsync(Wire wire, int caller, ConcurrentBag<Receipt> answered)
    {
        for (var call = 0; ; call++)
        {
            try
            {
                answered.Add((await wire.FilterAsync(BadInput.BadRequest.Good($"{caller}-{call}"))).Receipt);
            }
            catch (RpcException error)
            {
                return error.StatusCode;
            }
        }
    }

    private static async Task<StatusCode> StreamUntilItEndsAsync(Wire wire, ConcurrentBag<Receipt> answered)
    {
        using var stream = wire.Stream();
        for (var call = 0; ; call++)
        {
            try
            {
                answered.Add((await AskAsync(stream, $"stream-{call}")).Receipt);
            }
            catch (Exception error) when (error is RpcException or InvalidOperationException)
            {
                // A write to a call that has ended fails in several ways; reading says how the call ended.
                return (await Assert.ThrowsAsync<RpcException>(() => stream.ResponseStream.MoveNext(Cancelled))).StatusCode;
            }
        }
    }

    private static async Task<FilterResponse> AskAsync(AsyncDuplexStreamingCall<byte[], byte[]> stream, string id)
    {
        await stream.RequestStream.WriteAsync(BadInput.BadRequest.Good(id).ToByteArray(), Cancelled);
        Assert.True(await stream.ResponseStream.MoveNext(Cancelled));
        var reply = FilterStreamResponse.Parser.ParseFrom(stream.ResponseStream.Current);
        Assert.Equal(id, reply.Response?.RequestId);
        return reply.Response!;
    }
}
