using System.Collections.Concurrent;
using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Faults;

/// <summary>Several streams of cheap requests at once, as fast as they are answered, and every receipt that came back.</summary>
internal sealed class ReceiptLoad(int streams = 4, int inFlight = 32, int candidates = 16)
{
    private readonly byte[] _request = Request(candidates);
    private long _answers;

    public ConcurrentQueue<Receipt> Receipts { get; } = [];

    /// <summary>Requests of a stream that were refused, by status.</summary>
    public ConcurrentDictionary<StatusCode, int> Refused { get; } = [];

    public long Answers => Volatile.Read(ref _answers);

    /// <summary>Sends until the sidecar is gone or the token says so.</summary>
    public Task RunAsync(string unixSocket, CancellationToken stop) =>
        Task.WhenAll(Enumerable.Range(0, streams).Select(_ => Task.Run(() => RunStreamAsync(unixSocket, stop), CancellationToken.None)));

    private async Task RunStreamAsync(string unixSocket, CancellationToken stop)
    {
        try
        {
            using var wire = Wire.Unix(unixSocket);
            using var call = wire.Stream();
            for (var sent = 0; sent < inFlight; sent++)
            {
                await call.RequestStream.WriteAsync(_request, CancellationToken.None);
            }

            // Told to stop, it takes the answers that are still to come: a stream that is torn off is an error to the sidecar.
            var completed = false;
            while (await call.ResponseStream.MoveNext(CancellationToken.None))
            {
                Take(FilterStreamResponse.Parser.ParseFrom(call.ResponseStream.Current));
                if (!stop.IsCancellationRequested)
                {
                    await call.RequestStream.WriteAsync(_request, CancellationToken.None);
                }
                else if (!completed)
                {
                    completed = true;
                    await call.RequestStream.CompleteAsync();
                }
            }
        }
        catch (Exception error) when (error is RpcException or IOException or InvalidOperationException)
        {
            // Killed.
        }
    }

    private void Take(FilterStreamResponse reply)
    {
        if (reply.OutcomeCase == FilterStreamResponse.OutcomeOneofCase.Response)
        {
            Receipts.Enqueue(reply.Response.Receipt);
            Interlocked.Increment(ref _answers);
        }
        else
        {
            Refused.AddOrUpdate((StatusCode)reply.Error.Code, 1, static (_, count) => count + 1);
        }
    }

    private static byte[] Request(int candidates)
    {
        var request = new FilterRequest { RequestId = "kill", Surface = CheapPolicy.Surface };
        request.CandidateIds.AddRange(Enumerable.Range(0, candidates).Select(static row => $"video:{row}"));
        return request.ToByteArray();
    }
}
