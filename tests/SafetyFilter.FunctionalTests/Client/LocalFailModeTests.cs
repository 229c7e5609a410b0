using System.Collections.Concurrent;
using System.Net.Sockets;
using Grpc.Core;
using SafetyFilter.Client;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Client;

/// <summary>What a ranker gets from the client when a sidecar refuses, is silent, speaks nonsense or hangs up.</summary>
public sealed class LocalFailModeTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    private static SafetyFilterClientOptions Patient => new() { Deadline = TimeSpan.FromSeconds(30) };

    [Theory]
    [InlineData(StatusCode.ResourceExhausted, LocalReason.Overloaded)]
    [InlineData(StatusCode.Unavailable, LocalReason.NotServing)]
    [InlineData(StatusCode.Internal, LocalReason.Failed)]
    public async Task FilterAsync_RefusingSidecar_AnswersClosedAndSaysWhyAfterOneAttempt(StatusCode code, LocalReason reason)
    {
        var attempts = 0;
        await using var fake = await FakeSidecar.StartAsync(_ =>
        {
            Interlocked.Increment(ref attempts);
            return new FilterStreamResponse { Error = new StreamError { Code = (int)code, Message = "not now" } };
        });
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, Patient with { MaxRetries = 3 });

        var result = await client.FilterAsync(Page(3), Cancelled);

        Assert.True(result.IsLocal);
        Assert.Equal((reason, code, "not now"), (result.LocalReason, result.LocalStatus.StatusCode, result.LocalStatus.Detail));
        Assert.Equal([FilterAction.Block, FilterAction.Block, FilterAction.Block], result.Select(verdict => verdict.Action));
        Assert.All(result, verdict => Assert.Equal((VerdictBasis.FailedClosed, "client.fail-mode"), (verdict.Basis, verdict.RuleId)));
        Assert.Equal((Guid.Empty, 0ul, ""), (result.Receipt.StreamId, result.Receipt.Sequence, result.Policy));
        Assert.Equal(1, attempts);
    }

    [Theory]
    [InlineData(StatusCode.InvalidArgument)]
    [InlineData(StatusCode.NotFound)]
    [InlineData(StatusCode.PermissionDenied)]
    public async Task FilterAsync_RequestAtFault_ThrowsWhateverTheFailMode(StatusCode code)
    {
        await using var fake = await FakeSidecar.StartAsync(_ => new FilterStreamResponse { Error = new StreamError { Code = (int)code, Message = "yours" } });
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, Patient with { FailMode = LocalFailMode.Open });

        Assert.Equal(code, (await Assert.ThrowsAsync<RpcException>(async () => await client.FilterAsync(Page(1), Cancelled))).StatusCode);
    }

    [Fact]
    public async Task FilterAsync_SilentSidecar_AnswersAtTheDeadlineThatTheSidecarWasTold()
    {
        await using var fake = await FakeSidecar.StartAsync(async (request, aborted) =>
        {
            await new TaskCompletionSource().Task.WaitAsync(aborted);
            return FakeSidecar.Allow(request);
        });
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, Patient);
        await ConnectAsync(client);
        var query = Page(2);
        query.Deadline = TimeSpan.FromMilliseconds(200);

        var result = await client.FilterAsync(query, Cancelled);

        Assert.Equal(LocalReason.DeadlineExceeded, result.LocalReason);
        Assert.Equal("SIDECAR_DEADLINE_EXCEEDED", result[0].ReasonCode);
        Assert.Matches("^[0-9]+[munS]$", fake.LastTimeout);
    }

    [Fact]
    public async Task FilterAsync_FewerVerdictsThanCandidates_IsNoAnswer()
    {
        await using var fake = await FakeSidecar.StartAsync(request =>
        {
            var reply = FakeSidecar.Allow(request);
            reply.Response.Actions.RemoveAt(0);
            return reply;
        });
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, Patient);

        var result = await client.FilterAsync(Page(2), Cancelled);

        Assert.Equal((2, LocalReason.Failed), (result.Count, result.LocalReason));
    }

    [Fact]
    public async Task FilterAsync_NobodyListens_HardSurfacesAreClosedWhileOthersAreOpen()
    {
        var options = Patient with
        {
            FailMode = LocalFailMode.Throw,
            SurfaceFailModes = new Dictionary<string, LocalFailMode>(StringComparer.Ordinal) { ["search"] = LocalFailMode.Open, ["kids"] = LocalFailMode.Open },
            HardSurfaces = ["kids"],
        };
        using var client = SafetyFilterClient.Connect("unix:" + Path.Combine(Path.GetTempPath(), Guid.NewGuid().ToString("n")), options);

        Assert.Equal((FilterAction.Allow, VerdictBasis.FailedOpen), await AskAsync("search", null));
        Assert.Equal((FilterAction.Block, VerdictBasis.FailedClosed), await AskAsync("search", LocalFailMode.Closed));
        Assert.Equal((FilterAction.Block, VerdictBasis.FailedClosed), await AskAsync("kids", null));
        Assert.Equal((FilterAction.Block, VerdictBasis.FailedClosed), await AskAsync("kids", LocalFailMode.Open));
        Assert.Equal((FilterAction.Allow, VerdictBasis.FailedOpen), await AskAsync("for-you", LocalFailMode.Open));
        await Assert.ThrowsAsync<RpcException>(() => AskAsync("for-you", null));

        async Task<(FilterAction, VerdictBasis)> AskAsync(string surface, LocalFailMode? mode)
        {
            var query = Page(1);
            query.Surface = surface;
            query.FailMode = mode;
            var result = await client.FilterAsync(query, Cancelled);
            Assert.Equal(LocalReason.Unreachable, result.LocalReason);
            return (result[0].Action, result[0].Basis);
        }
    }

    [Fact]
    public async Task FilterAsync_ConnectionBreaks_IsSentAgainUnderAKeyOfItsOwnAsTheNextAttempt()
    {
        var seen = new ConcurrentQueue<FilterRequest>();
        await using var fake = await FakeSidecar.StartAsync(request =>
        {
            seen.Enqueue(request);
            return FakeSidecar.Allow(request);
        });
        var folder = Directory.CreateTempSubdirectory("sf-hang-up-");
        try
        {
            var path = Path.Combine(folder.FullName, "s.sock");
            using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            listener.Bind(new UnixDomainSocketEndPoint(path));
            listener.Listen();
            using var client = SafetyFilterClient.Connect("unix:" + path, Patient);

            var answer = client.FilterAsync(Page(2), Cancelled).AsTask();
            using (await listener.AcceptAsync(Cancelled))
            {
                // The path now leads to one that answers; the one that accepted hangs up.
                File.Move(fake.Socket, path, overwrite: true);
            }

            var result = await answer;
            var again = await client.FilterAsync(Page(2), Cancelled);

            Assert.False(result.IsLocal);
            Assert.False(again.IsLocal);
            Assert.Equal([1u, 0u], seen.Select(request => request.Attempt));
            Assert.All(seen, request => Assert.Matches("^[0-9a-f]{32}$", request.IdempotencyKey));
            Assert.Equal(2, seen.Select(request => request.IdempotencyKey).Distinct(StringComparer.Ordinal).Count());
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void Detach_QueryFilledAgain_LeavesTheMessageOfTheFailedCallAlone()
    {
        var query = Page(2);
        var sent = query.SealForAttempts();
        var before = sent.Clone();
        var bytes = sent.Tensors[0].Data.ToByteArray();

        var next = query.Detach();
        Assert.Equal(before, next);
        query.Clear();
        query.AddCandidate("other").Text("text", "another page").Tensor("embedding", [9f, 9f]);
        query.Seal();

        Assert.Equal(before.CandidateIds, sent.CandidateIds);
        Assert.Equal(bytes, sent.Tensors[0].Data.ToByteArray());
        Assert.Equal(before.Texts, sent.Texts);
    }

    [Fact]
    public async Task FilterAsync_CallerCancels_ThrowsCancelledAndAnswersNothing()
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancelled);
        await using var fake = await FakeSidecar.StartAsync(async (request, aborted) =>
        {
            await stop.CancelAsync();
            await new TaskCompletionSource().Task.WaitAsync(aborted);
            return FakeSidecar.Allow(request);
        });
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, Patient);

        var error = await Assert.ThrowsAsync<RpcException>(async () => await client.FilterAsync(Page(1), stop.Token));

        Assert.Equal(StatusCode.Cancelled, error.StatusCode);
    }

    [Theory]
    [InlineData(nameof(SafetyFilterClientOptions.MaxRetries))]
    [InlineData(nameof(SafetyFilterClientOptions.KeepAlive))]
    [InlineData(nameof(SafetyFilterClientOptions.FailMode))]
    public void Connect_OptionOutOfRange_IsRefusedByName(string name)
    {
        var options = name switch
        {
            nameof(SafetyFilterClientOptions.MaxRetries) => Patient with { MaxRetries = 11 },
            nameof(SafetyFilterClientOptions.KeepAlive) => Patient with { KeepAlive = TimeSpan.FromMilliseconds(1) },
            _ => Patient with { FailMode = (LocalFailMode)9 },
        };

        var error = Assert.Throws<ArgumentOutOfRangeException>(() => SafetyFilterClient.Connect("unix:/x.sock", options));

        Assert.Contains(name, error.Message, StringComparison.Ordinal);
    }

    /// <summary>The handshake must not eat the short deadline that follows. The fake has no health service: asking is enough.</summary>
    private static Task<bool> ConnectAsync(SafetyFilterClient client) => client.ProbeAsync(Cancelled);

    private static FilterQuery Page(int count)
    {
        var query = new FilterQuery { Surface = "for-you" };
        for (var i = 0; i < count; i++)
        {
            query.AddCandidate($"c{i}").Text("text", "title").Tensor("embedding", [i, 1f]);
        }

        return query;
    }
}
