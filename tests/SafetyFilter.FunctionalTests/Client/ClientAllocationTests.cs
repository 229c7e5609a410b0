using Grpc.Core;
using SafetyFilter.Client;
using SafetyFilter.V1;
using Stub = SafetyFilter.V1.SafetyFilter.SafetyFilterClient;

namespace SafetyFilter.FunctionalTests.Client;

/// <summary>What a call through the client allocates beyond the same call through the generated stub.</summary>
public sealed class ClientAllocationTests
{
    // Measured: 528 in a debug build, where the method's own state is an object too. The request id (a UUID as text), the key, the
    // result and the wrapping of a tensor's bytes are the rest; nothing grows with the candidates.
    private const long BudgetBytes = 576;

    private const int Candidates = 100;

    [Fact]
    public async Task FilterAsync_FilledAgain_AllocatesTheMessagesAndAHandfulOfBytes()
    {
        var answering = new AnsweringInvoker(Candidates);
        using var client = new SafetyFilterClient(answering, new SafetyFilterClientOptions());
        var stub = new Stub(answering);
        var query = new FilterQuery { Surface = "for-you" };
        var ids = Enumerable.Range(0, Candidates).Select(row => $"video:{row}").ToArray();
        var embedding = new float[64];
        var least = (Client: long.MaxValue, Raw: long.MaxValue);

        // Interleaved; the least of many rounds is free of what tiering and first uses add.
        for (var round = 0; round < 200; round++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            query.Clear();
            foreach (var id in ids)
            {
                query.AddCandidate(id, "v1", "en").Text("text", "title").Tensor("embedding", embedding).Attribute("tier", "new");
            }

            var task = client.FilterAsync(query, TestContext.Current.CancellationToken);
            Assert.True(task.IsCompletedSuccessfully);
            least.Client = Math.Min(least.Client, GC.GetAllocatedBytesForCurrentThread() - before);
            GC.KeepAlive(await task);

            var message = query.SealForAttempts();
            before = GC.GetAllocatedBytesForCurrentThread();
            using var call = stub.FilterAsync(message, deadline: DateTime.UtcNow.AddSeconds(1), cancellationToken: TestContext.Current.CancellationToken);
            Assert.True(call.ResponseAsync.IsCompletedSuccessfully);
            least.Raw = Math.Min(least.Raw, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        TestContext.Current.TestOutputHelper!.WriteLine($"client {least.Client} bytes, raw call {least.Raw} bytes, for {Candidates} candidates");
        Assert.InRange(least.Client - least.Raw, 0, BudgetBytes);
    }

    /// <summary>Answers at once on the caller's thread, so that nobody else's allocations are counted.</summary>
    private sealed class AnsweringInvoker(int candidates) : CallInvoker
    {
        private readonly FilterResponse _response = Allow(candidates);

        public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(
            Method<TRequest, TResponse> method, string? host, CallOptions options, TRequest request) =>
            new(
                Task.FromResult((TResponse)(object)_response), Task.FromResult(Metadata.Empty),
                static () => Status.DefaultSuccess, static () => Metadata.Empty, static () => { });

        public override TResponse BlockingUnaryCall<TRequest, TResponse>(Method<TRequest, TResponse> method, string? host, CallOptions options, TRequest request) =>
            throw new NotSupportedException();

        public override AsyncServerStreamingCall<TResponse> AsyncServerStreamingCall<TRequest, TResponse>(
            Method<TRequest, TResponse> method, string? host, CallOptions options, TRequest request) => throw new NotSupportedException();

        public override AsyncClientStreamingCall<TRequest, TResponse> AsyncClientStreamingCall<TRequest, TResponse>(
            Method<TRequest, TResponse> method, string? host, CallOptions options) => throw new NotSupportedException();

        public override AsyncDuplexStreamingCall<TRequest, TResponse> AsyncDuplexStreamingCall<TRequest, TResponse>(
            Method<TRequest, TResponse> method, string? host, CallOptions options) => throw new NotSupportedException();

        private static FilterResponse Allow(int candidates)
        {
            var request = new FilterRequest();
            request.CandidateIds.AddRange(Enumerable.Repeat("c", candidates));
            return FakeSidecar.Allow(request).Response;
        }
    }
}
