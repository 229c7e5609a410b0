using System.Runtime.CompilerServices;
using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.Client;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Client;

public sealed class SafetyFilterClientTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task FilterAsync_Answer_IsReadAsRows()
    {
        var leaf = Enumerable.Range(0, 32).Select(i => (byte)i).ToArray();
        var stream = Guid.CreateVersion7();
        await using var fake = await FakeSidecar.StartAsync(request => new FilterStreamResponse
        {
            Response = new FilterResponse
            {
                RequestId = request.RequestId,
                Actions = { V1.Action.Allow, V1.Action.Demote, V1.Action.Block },
                RuleIndexes = { 0, 1, 2 },
                Rules =
                {
                    new DecidingRule { Id = "default", Action = V1.Action.Allow },
                    new DecidingRule { Id = "bait", Action = V1.Action.Demote, ReasonCode = "CLICKBAIT", DemoteFactor = 0.25f, Severity = V1.Severity.Low },
                    new DecidingRule { Id = "hate", Action = V1.Action.Block, ReasonCode = "HATE", Severity = V1.Severity.Critical },
                },
                Bases = { Basis.Evaluated, Basis.FailedOpen, Basis.FailedClosed },
                Classifiers = { new ClassifierReport { Name = "m/a", Version = "1.0.0", FailMode = V1.FailMode.Open, Micros = 7, Remembered = 2 }, new ClassifierReport { Name = "m/b" } },
                Degradations = { new Degradation { ClassifierIndex = 1, Failure = V1.FailureKind.BreakerOpen, FailMode = V1.FailMode.Closed, CandidateIndexes = { 2 } } },
                Scores = { 0.1f, 0.2f, 0.3f, 0.4f, 0.5f, float.NaN },
                Policy = "p",
                PolicyRevision = "abc",
                EngineMicros = 812,
                Receipt = new Receipt
                {
                    StreamId = ByteString.CopyFrom(stream.ToByteArray(bigEndian: true)),
                    Epoch = 2,
                    Sequence = 41,
                    LeafHash = ByteString.CopyFrom(leaf),
                    Durability = V1.Durability.Process,
                },
            },
        });
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, Patient);

        var result = await client.FilterAsync(Three(), Cancelled);

        Assert.Equal([FilterAction.Allow, FilterAction.Demote, FilterAction.Block], result.Select(verdict => verdict.Action));
        Assert.Equal([VerdictBasis.Evaluated, VerdictBasis.FailedOpen, VerdictBasis.FailedClosed], result.Select(verdict => verdict.Basis));
        Assert.Equal([1f, 0.25f, 1f], result.Select(verdict => verdict.DemoteFactor));
        Assert.Equal(("hate", "HATE", SafetyFilter.Client.Severity.Critical), (result[2].RuleId, result[2].ReasonCode, result[2].Severity));
        Assert.Equal((0.2f, 0.5f), (result[1].Score(0), result[1].Score(1)));
        Assert.Equal(float.NaN, result[2].Score(1));
        Assert.Equal(TimeSpan.FromMicroseconds(812), result.EngineTime);
        Assert.Equal((TimeSpan.FromMicroseconds(7), 2), (result.Classifier(0).Duration, result.Classifier(0).Remembered));
        var mark = result.Degradation(0);
        Assert.Equal(("m/b", SafetyFilter.Client.FailureKind.BreakerOpen, SafetyFilter.Client.FailMode.Closed), (mark.Classifier, mark.Failure, mark.FailMode));
        Assert.Equal((false, true), (mark.Concerns(1), mark.Concerns(2)));
        Assert.Equal((stream, 2u, 41ul, SafetyFilter.Client.Durability.Process), (result.Receipt.StreamId, result.Receipt.Epoch, result.Receipt.Sequence, result.Receipt.Durability));
        Assert.Equal(leaf, result.Receipt.LeafHash.ToArray());
        Assert.Throws<ArgumentOutOfRangeException>(() => result[3]);
    }

    [Fact]
    public async Task FilterAsync_RefusedRequest_ThrowsTheSidecarsOwnWords()
    {
        await using var fake = await FakeSidecar.StartAsync(_ => new FilterStreamResponse
        {
            Error = new StreamError { Code = (int)StatusCode.NotFound, Message = "surface 'x' is not known" },
        });
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, Patient);

        var error = await Assert.ThrowsAsync<RpcException>(async () => await client.FilterAsync(Three(), Cancelled));

        Assert.Equal(StatusCode.NotFound, error.StatusCode);
        Assert.Equal("surface 'x' is not known", error.Status.Detail);
    }

    [Fact]
    public async Task FilterAsync_SilentSidecar_GivesUpAtTheQuerysDeadline()
    {
        await using var fake = await FakeSidecar.StartAsync(async (request, aborted) =>
        {
            await new TaskCompletionSource().Task.WaitAsync(aborted);
            return FakeSidecar.Allow(request);
        });
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, Patient);
        var query = Three();
        query.Deadline = TimeSpan.FromMilliseconds(50);

        var error = await Assert.ThrowsAsync<RpcException>(async () => await client.FilterAsync(query, Cancelled));

        Assert.Equal(StatusCode.DeadlineExceeded, error.StatusCode);
    }

    [Fact]
    public async Task FilterAsync_NobodyListens_IsUnavailable()
    {
        using var client = SafetyFilterClient.Connect("unix:" + Path.Combine(Path.GetTempPath(), Guid.NewGuid().ToString("n")), Patient);

        Assert.Equal(StatusCode.Unavailable, (await Assert.ThrowsAsync<RpcException>(async () => await client.FilterAsync(Three(), Cancelled))).StatusCode);
    }

    [Fact]
    public async Task StreamAsync_OneQueryObjectForAll_AnswersInOrderAndOutlivesARefusal()
    {
        await using var fake = await FakeSidecar.StartAsync(request => request.RequestId == "3"
            ? new FilterStreamResponse { Error = new StreamError { RequestId = "3", Code = (int)StatusCode.InvalidArgument, Message = "no" } }
            : FakeSidecar.Allow(request));
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, Patient);

        var seen = new List<string>();
        await foreach (var reply in client.StreamAsync(Queries(), Cancelled))
        {
            seen.Add($"{reply.RequestId}:{reply.Status.StatusCode}:{reply.Result?.Count}");
        }

        Assert.Equal(["0:OK:1", "1:OK:2", "2:OK:3", "3:InvalidArgument:", "4:OK:5"], seen);

        static async IAsyncEnumerable<FilterQuery> Queries()
        {
            var query = new FilterQuery { Surface = "for-you" };
            for (var i = 0; i < 5; i++)
            {
                await Task.Yield();
                query.Clear();
                query.RequestId = $"{i}";
                for (var row = 0; row <= i; row++)
                {
                    query.AddCandidate($"c{row}").Text("text", "title");
                }

                yield return query;
            }
        }
    }

    [Fact]
    public async Task StreamAsync_SourceThrows_ShowsThatErrorAndNotItsConsequence()
    {
        await using var fake = await FakeSidecar.StartAsync(FakeSidecar.Allow);
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, Patient);

        await Assert.ThrowsAsync<InvalidDataException>(async () =>
        {
            await foreach (var _ in client.StreamAsync(Queries(), Cancelled))
            {
            }
        });

        static async IAsyncEnumerable<FilterQuery> Queries()
        {
            await Task.Yield();
            yield return Three();
            throw new InvalidDataException("the ranker's own fault");
        }
    }

    [Fact]
    public async Task StreamAsync_CallerStopsReading_EndsTheSource()
    {
        await using var fake = await FakeSidecar.StartAsync(FakeSidecar.Allow);
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, Patient);
        var ended = false;

        await foreach (var _ in client.StreamAsync(Forever(Cancelled), Cancelled))
        {
            break;
        }

        Assert.True(ended);

        async IAsyncEnumerable<FilterQuery> Forever([EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            try
            {
                yield return Three();
                await new TaskCompletionSource().Task.WaitAsync(cancellationToken);
            }
            finally
            {
                ended = true;
            }
        }
    }

    [Theory]
    [InlineData("run/x.sock")]
    [InlineData("unix:run/x.sock")]
    [InlineData("ftp://host")]
    [InlineData("")]
    public void Connect_UnusableTarget_SaysWhichFormsThereAre(string target)
    {
        var error = Assert.Throws<ArgumentException>(() => SafetyFilterClient.Connect(target));

        Assert.Contains("unix:/absolute/path", error.Message, StringComparison.Ordinal);
    }

    // Builds share the machine with these tests.
    private static SafetyFilterClientOptions Patient => new() { Deadline = TimeSpan.FromSeconds(30), FailMode = LocalFailMode.Throw };

    private static FilterQuery Three()
    {
        var query = new FilterQuery { Surface = "for-you" };
        for (var i = 0; i < 3; i++)
        {
            query.AddCandidate($"c{i}").Text("text", "title");
        }

        return query;
    }
}
