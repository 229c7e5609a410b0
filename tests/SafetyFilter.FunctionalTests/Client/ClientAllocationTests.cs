using Grpc.Core;
using SafetyFilter.Client;
using SafetyFilter.V1;
using Stub = SafetyFilter.V1.SafetyFilter.SafetyFilterClient;

namespace SafetyFilter.FunctionalTests.Client;

/// <summary>What a call through the client allocates beyond the message and the same call through the generated stub.</summary>
public sealed class ClientAllocationTests
{
#if DEBUG
    // An unoptimised method's state is an object of its own.
    private const long BudgetBytes = 240;
#else
    // The result: a header, the message's reference and a status.
    private const long BudgetBytes = 48;
#endif

    // A request id (a UUID as text), a key of 32 digits and the wrapping of a tensor's bytes; nothing grows with the candidates.
    private const long MessageBytes = 216;

    private const int Candidates = 100;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task FilterAsync_FilledAgain_AllocatesNothingBeyondTheMessagesButItsResult(bool answersAtOnce)
    {
        var answering = new AnsweringInvoker(Candidates, answersAtOnce);
        using var client = new SafetyFilterClient(answering, new SafetyFilterClientOptions());
        var stub = new Stub(answering);
        var query = new FilterQuery { Surface = "for-you" };
        var ids = Enumerable.Range(0, Candidates).Select(row => $"video:{row}").ToArray();
        var embedding = new float[64];
        var least = (Client: long.MaxValue, Message: long.MaxValue, Raw: long.MaxValue);

        // Interleaved; the least of many rounds is free of what tiering and first uses add.
        for (var round = 0; round < 200; round++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            Fill();
            var task = client.FilterAsync(query, TestContext.Current.CancellationToken);
            answering.Answer();
            Assert.True(task.IsCompletedSuccessfully);
            least.Client = Math.Min(least.Client, GC.GetAllocatedBytesForCurrentThread() - before);
            GC.KeepAlive(await task);

            before = GC.GetAllocatedBytesForCurrentThread();
            Fill();
            var message = query.SealForAttempts();
            least.Message = Math.Min(least.Message, GC.GetAllocatedBytesForCurrentThread() - before);

            before = GC.GetAllocatedBytesForCurrentThread();
            using var call = stub.FilterAsync(message, deadline: DateTime.UtcNow.AddSeconds(1), cancellationToken: TestContext.Current.CancellationToken);
            answering.Answer();
            Assert.True(call.ResponseAsync.IsCompletedSuccessfully);
            least.Raw = Math.Min(least.Raw, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        TestContext.Current.TestOutputHelper!.WriteLine($"client {least.Client} bytes, message {least.Message}, raw call {least.Raw}, for {Candidates} candidates");
        Assert.InRange(least.Message, 0, MessageBytes);
        Assert.InRange(least.Client - least.Message - least.Raw, 0, BudgetBytes);

        void Fill()
        {
            query.Clear();
            foreach (var id in ids)
            {
                query.AddCandidate(id, "v1", "en").Text("text", "title").Tensor("embedding", embedding).Attribute("tier", "new");
            }
        }
    }

    /// <summary>Answers on the caller's thread, so that nobody else's allocations are counted: at once, or when it is told to.</summary>
    private sealed class AnsweringInvoker(int candidates, bool answersAtOnce) : CallInvoker
    {
        private readonly FilterResponse _response = Allow(candidates);
        private TaskCompletionSource<FilterResponse> _pending = new();

        public void Answer() => _pending.TrySetResult(_response);

        public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(
            Method<TRequest, TResponse> method, string? host, CallOptions options, TRequest request)
        {
            _pending = new TaskCompletionSource<FilterResponse>();
            if (answersAtOnce)
            {
                Answer();
            }

            return new(
                (Task<TResponse>)(object)_pending.Task, Task.FromResult(Metadata.Empty),
                static () => Status.DefaultSuccess, static () => Metadata.Empty, static () => { });
        }

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
