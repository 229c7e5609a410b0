using System.Security.Cryptography;
using Google.Protobuf;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.Lineage.V1;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Decisions;

public sealed class ReferenceSidecar : IAsyncLifetime
{
    internal SidecarProcess Sidecar { get; private set; } = null!;

    internal Wire Tcp { get; private set; } = null!;

    internal Wire Unix { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Sidecar = await SidecarProcess.StartAsync();
        Tcp = Wire.Tcp(Sidecar);
        Unix = Wire.Unix(Sidecar.UnixSocket);
    }

    public async ValueTask DisposeAsync()
    {
        Tcp.Dispose();
        Unix.Dispose();
        await Sidecar.DisposeAsync();
    }
}

/// <summary>The reference bundles and policies in a real sidecar: what it scores, answers and records.</summary>
public sealed class DecisionTests(ReferenceSidecar fixture) : IClassFixture<ReferenceSidecar>
{
    [Fact]
    public async Task Filter_SameRequestAgain_HasByteEqualScores()
    {
        var request = Pages.Kids("again", seed: 1, count: 97);
        var first = await fixture.Tcp.FilterAsync(request);

        // Other sizes in between: buffers are used again and must leave no trace.
        await fixture.Tcp.FilterAsync(Pages.Kids("larger", seed: 2, count: 500));
        await fixture.Tcp.FilterAsync(Pages.Kids("smaller", seed: 3, count: 1));
        var second = await fixture.Tcp.FilterAsync(request);
        Assert.Equal(Bits(first.Scores), Bits(second.Scores));
        Assert.Equal(first.Actions, second.Actions);
        Assert.NotEqual(first.Receipt.Sequence, second.Receipt.Sequence);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(64)]
    [InlineData(256)]
    public async Task Filter_TextScores_EqualOnnxRuntimeCalledDirectly(int count)
    {
        using var model = new DirectModel("text-safety");
        string[] titles = [.. model.GoldenTexts.Take(count), .. Pages.Titles(seed: count, Math.Max(0, count - model.GoldenTexts.Length))];
        var response = await fixture.Tcp.FilterAsync(Wire.Page("text", "for-you", titles));
        AssertScores(model, model.Score(titles), response, classifiers: 6);
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(7, false)]
    [InlineData(256, false)]
    [InlineData(1, true)]
    [InlineData(7, true)]
    [InlineData(256, true)]
    public async Task Filter_EmbeddingScores_EqualOnnxRuntimeCalledDirectly(int count, bool half)
    {
        using var model = new DirectModel("embedding-safety");
        var rows = Pages.Embeddings(seed: count, count);
        var response = await fixture.Tcp.FilterAsync(Pages.Shorts("embedding", rows, half));
        var widened = half ? Array.ConvertAll(rows, static row => Array.ConvertAll(row, static number => (float)(Half)number)) : rows;
        AssertScores(model, model.Score(widened), response, classifiers: 4);
    }

    [Fact]
    public async Task Filter_Answer_EqualsItsRecordFieldByField()
    {
        var request = Pages.Kids("record", seed: 4, count: 30);
        var response = await fixture.Unix.FilterAsync(request);
        var stored = SpoolRecords.Find(fixture.Sidecar.Spool, response.Receipt.Sequence);
        var record = stored.Decision;

        Assert.Equal(SHA256.HashData([0, .. stored.Bytes]), response.Receipt.LeafHash.ToByteArray());
        Assert.Equal((response.Receipt.StreamId, response.Receipt.Epoch, response.Receipt.Sequence), (record.StreamId, record.Epoch, record.Sequence));
        Assert.Equal(Durability.Process, response.Receipt.Durability);
        Assert.Equal((request.RequestId, request.Surface, request.Purpose), (record.RequestId, record.Surface, record.Purpose));
        Assert.Equal(request.RequestId, response.RequestId);
        Assert.Equal(
            (request.Viewer.Territory, request.Viewer.AgeBand, request.Viewer.Experiment), (record.Territory, record.AgeBand, record.Experiment));
        Assert.Equal((response.Policy, response.PolicyRevision, response.BudgetMicros), (record.Policy, record.PolicyRevision, record.BudgetMicros));
        Assert.InRange(record.EngineMicros, 1u, response.EngineMicros);
        Assert.Equal(request.CandidateIds, record.CandidateIds);
        Assert.Equal(request.ContentVersions, record.ContentVersions);
        Assert.Equal(30u, record.CandidateCount);
        Assert.Equal(30 * 16, record.InputDigests.Length);
        Assert.Equal(Bits(response.Scores), Bits(record.Scores));
        Assert.Equal(response.Actions.Select(static action => (int)action), record.Actions.Select(static action => (int)action));
        Assert.Equal(response.Bases.Select(static basis => (int)basis), record.Bases.Select(static basis => (int)basis));
        Assert.Equal(response.RuleIndexes, record.RuleIndexes);

        // The messages of the two files have the same fields with the same numbers.
        Assert.Equal(response.Rules.Select(static rule => rule.ToByteString()), record.Rules.Select(static rule => rule.ToByteString()));
        Assert.Equal(response.Degradations.Select(static mark => mark.ToByteString()), record.Degradations.Select(static mark => mark.ToByteString()));
        Assert.Equal(
            response.Classifiers.Select(static report => (report.Name, report.Version, (int)report.Failure, (int)report.FailMode, report.Micros)),
            record.Classifiers.Select(run => (run.Name, Run(run).Version, (int)Run(run).Failure, (int)run.FailMode, Run(run).Micros)));
        Assert.Equal(["made_for_kids"], record.Attributes.Select(static attribute => attribute.Name));
        Assert.Equal(request.Attributes[0].Flags, record.Attributes[0].Flags);

        DecisionRecord.Types.BundleRun Run(DecisionRecord.Types.ClassifierRun run) => record.Bundles[(int)run.BundleIndex];
    }

    [Fact]
    public async Task Filter_CandidateWithoutItsFeature_TakesTheFailModeAndIsMarked()
    {
        var response = await fixture.Tcp.FilterAsync(Pages.Kids("missing", seed: 5, count: 10));
        Assert.Equal([.. Enumerable.Repeat(Basis.Evaluated, 9), Basis.FailedClosed], response.Bases);
        Assert.Equal(2, response.Degradations.Count);
        Assert.All(response.Degradations, mark =>
        {
            Assert.StartsWith("embedding-safety/", response.Classifiers[(int)mark.ClassifierIndex].Name, StringComparison.Ordinal);
            Assert.Equal((FailureKind.MissingFeature, FailMode.Closed), (mark.Failure, mark.FailMode));
            Assert.Equal([9u], mark.CandidateIndexes);
        });
        Assert.Equal(V1.Action.Block, response.Actions[9]);
    }

    [Fact]
    public async Task Filter_OverUnixSocketAndTcp_DecidesTheSameAndRecordsWhoCalled()
    {
        var request = Pages.Kids("both", seed: 6, count: 40);
        var (overUnix, overTcp) = (await fixture.Unix.FilterAsync(request), await fixture.Tcp.FilterAsync(request));
        Assert.Equal(Bits(overUnix.Scores), Bits(overTcp.Scores));
        Assert.Equal((overUnix.Actions, overUnix.RuleIndexes, overUnix.Rules, overUnix.Bases), (overTcp.Actions, overTcp.RuleIndexes, overTcp.Rules, overTcp.Bases));
        Assert.Equal("uds", SpoolRecords.Find(fixture.Sidecar.Spool, overUnix.Receipt.Sequence).Decision.Caller);
        Assert.Equal("127.0.0.1", SpoolRecords.Find(fixture.Sidecar.Spool, overTcp.Receipt.Sequence).Decision.Caller);
    }

    [Fact]
    public async Task Filter_ScoresNotAskedFor_AreNotSentButRecorded()
    {
        var request = Pages.Kids("silent", seed: 7, count: 5);
        request.ReturnScores = false;
        var response = await fixture.Tcp.FilterAsync(request);
        Assert.Empty(response.Scores);
        Assert.Equal(response.Classifiers.Count * 5, SpoolRecords.Find(fixture.Sidecar.Spool, response.Receipt.Sequence).Decision.Scores.Count);
    }

    [Fact]
    public async Task FilterStream_TwoHundredRequests_AreAnsweredInTheirOrder()
    {
        var requests = Enumerable.Range(0, 200).Select(static i => Pages.Kids($"ordered-{i}", seed: i, count: 1 + i * 7 % 60)).ToList();
        var replies = await fixture.Tcp.StreamAsync([.. requests.Select(static request => request.ToByteArray())]);
        Assert.Equal(requests.Select(static request => request.RequestId), replies.Select(static reply => reply.Response?.RequestId));
        Assert.Equal(requests.Select(static request => request.CandidateIds.Count), replies.Select(static reply => reply.Response.Actions.Count));
        var sequences = replies.Select(static reply => reply.Response.Receipt.Sequence).ToList();
        Assert.Equal(sequences.Order(), sequences);

        // And each is what it would have been alone.
        var alone = await fixture.Unix.FilterAsync(requests[123]);
        Assert.Equal(Bits(alone.Scores), Bits(replies[123].Response.Scores));
    }

    [Fact]
    public async Task Filter_EightCallersAtOnce_AreEachAnsweredRightAndRecordedOnce()
    {
        const int Callers = 8, Requests = 50;
        var prefix = $"concurrent-{Guid.NewGuid():N}-";
        var expected = new Dictionary<int, uint[]>();
        for (var seed = 0; seed < 5; seed++)
        {
            expected[seed] = Bits((await fixture.Tcp.FilterAsync(Page($"alone-{seed}", seed))).Scores);
        }

        var answers = await Task.WhenAll(Enumerable.Range(0, Callers).Select(async caller =>
        {
            var own = new List<FilterResponse>();
            for (var i = 0; i < Requests; i++)
            {
                var wire = caller % 2 == 0 ? fixture.Tcp : fixture.Unix;
                var response = await wire.FilterAsync(Page($"{prefix}{caller}-{i}", (caller + i) % 5));
                Assert.Equal($"{prefix}{caller}-{i}", response.RequestId);
                Assert.Equal(expected[(caller + i) % 5], Bits(response.Scores));
                own.Add(response);
            }

            return own;
        }));

        var told = answers.SelectMany(static own => own).ToDictionary(static response => response.RequestId, static response => response.Receipt.Sequence);
        var recorded = SpoolRecords.Decisions(fixture.Sidecar.Spool).Where(record => record.RequestId.StartsWith(prefix, StringComparison.Ordinal)).ToList();
        Assert.Equal(Callers * Requests, recorded.Count);
        Assert.All(recorded, record => Assert.Equal(told[record.RequestId], record.Sequence));
        SpoolRecords.Verify(fixture.Sidecar.Spool);

        static FilterRequest Page(string id, int seed) => Pages.Kids(id, seed, 20 + seed * 13);
    }

    private static void AssertScores(DirectModel model, float[][] direct, FilterResponse response, int classifiers)
    {
        Assert.Equal(classifiers, response.Classifiers.Count);
        Assert.All(response.Bases, static basis => Assert.Equal(Basis.Evaluated, basis));
        for (var row = 0; row < classifiers; row++)
        {
            var column = Array.IndexOf(model.Classifiers, response.Classifiers[row].Name);
            Assert.Equal(
                Bits(direct.Select(scores => scores[column])), Bits(response.Scores.Skip(row * direct.Length).Take(direct.Length)));
        }
    }

    private static uint[] Bits(IEnumerable<float> scores) => [.. scores.Select(BitConverter.SingleToUInt32Bits)];
}
