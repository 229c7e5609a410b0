using SafetyFilter.Benchmarks.Service;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;
using SafetyFilter.Sidecar.Grpc;

namespace SafetyFilter.Tests.Benchmarks;

/// <summary>Items are made once: their embeddings take a second.</summary>
public sealed class BenchmarkItems
{
    internal ItemSet Items { get; } = new(Path.Combine(SourceTree.Root, "deploy", "models"), seed: 1);
}

public sealed class RequestPoolTests(BenchmarkItems fixture) : IClassFixture<BenchmarkItems>
{
    public static TheoryData<string> Names => [.. Workload.All.Select(workload => workload.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Compose_AnyWorkload_IsARequestThatTheSidecarReads(string name)
    {
        var workload = Workload.Named(name)!;
        var batch = Read(Pool(workload).Compose(round: 3, number: 5));
        Assert.Equal(workload.Candidates, batch.Count);
        Assert.Equal(workload.HasCaption ? workload.Candidates : 0, batch.FindText("text"u8)?.Values.Count ?? 0);
        Assert.Equal(workload.HasEmbedding, batch.FindTensor("embedding"u8) is { RowLength: ItemSet.EmbeddingLength });
        if (workload.HasEmbedding)
        {
            Assert.Equal(name == "E256h" ? DataType.Float16 : DataType.Float32, batch.FindTensor("embedding"u8)!.DataType);
        }
    }

    [Fact]
    public void Compose_SameRoundAndNumber_IsTheSameBytes() =>
        Assert.Equal(Pool("Z").Compose(1, 7), Pool("Z").Compose(1, 7));

    [Fact]
    public void Turn_NextRound_HasOtherRequests()
    {
        var pool = Pool("E16");
        var before = pool.Requests;
        pool.Turn(1);
        Assert.True(pool.Requests.Length >= 256);
        Assert.DoesNotContain(pool.Requests, request => before.Any(old => request.AsSpan().SequenceEqual(old)));
    }

    [Fact]
    public void Compose_Popularity_FollowsZipfWithoutAnItemTwiceOnAPage()
    {
        var pool = Pool("Z");
        var pages = Enumerable.Range(0, 200).Select(number => Ids(Read(pool.Compose(0, number)))).ToArray();
        Assert.All(pages, page => Assert.Equal(page.Length, page.Distinct(StringComparer.Ordinal).Count()));

        // Nearly every page has the most popular item; the hundredth and the two-hundredth are seldom enough for 1/rank to show.
        int Pages(int item) => pages.Count(page => page.Contains(ItemSet.Id(item)));
        Assert.True(Pages(0) > 195);
        Assert.InRange(Enumerable.Range(0, 100).Sum(i => Pages(400 + i)) / (double)Enumerable.Range(0, 100).Sum(i => Pages(850 + i)), 1.6, 2.5);
    }

    [Fact]
    public void Version_OverRounds_ChangesATenthOfTheItemsEach()
    {
        var changed = Enumerable.Range(0, 1_000).Count(item => ItemSet.Version(item, 4) != ItemSet.Version(item, 5));
        Assert.Equal(100, changed);
    }

    [Fact]
    public void Caption_AnyItem_HasAboutSixtyCharacters()
    {
        var lengths = Enumerable.Range(0, 2_000).Select(item => fixture.Items.Caption(item).Length).ToArray();
        Assert.InRange(lengths.Min(), 40, 60);
        Assert.InRange(lengths.Average(), 52, 60);
        Assert.InRange(lengths.Max(), 52, 60);
    }

    [Fact]
    public void Embed_AnyItem_HasLengthOneAndIsNearItsKind()
    {
        var (one, other) = (new float[ItemSet.EmbeddingLength], new float[ItemSet.EmbeddingLength]);
        fixture.Items.Embed(17, one);
        fixture.Items.Embed(18, other);
        Assert.Equal(1, one.Sum(x => x * x), 1e-5);
        Assert.NotEqual(one, other);
    }

    [Fact]
    public void Sample_Zipf_IsOneOverRank()
    {
        var zipf = new Zipf(ItemSet.Count, 1.0);
        var random = SplitMix64.For(1, 2);
        var counts = new int[ItemSet.Count];
        for (var i = 0; i < 400_000; i++)
        {
            counts[zipf.Sample(ref random)]++;
        }

        // H(50000) is 11.3970.
        Assert.InRange(counts[0] / 400_000.0, 0.0855, 0.0900);
        Assert.InRange(counts[0] / (double)counts[9], 9, 11);
        Assert.InRange(counts[^10_000..].Sum() / 400_000.0, 0.017, 0.022);
    }

    [Fact]
    public void Write_Policies_CompileToTenRulesEach()
    {
        var folder = Directory.CreateTempSubdirectory("sf-test-");
        try
        {
            BenchmarkPolicies.Write(folder.FullName, PolicyVariant.Plain);
            using var set = ClassifierSet.Load(Path.Combine(SourceTree.Root, "deploy", "models"), BundleLimits.Default, TimeProvider.System).Value!;
            var (sources, unreadable) = PolicySource.ReadFolder(folder.FullName);
            Assert.Empty(unreadable);
            var (snapshot, errors) = PolicyCompiler.Compile(sources, set.PolicyTerms(), DateTimeOffset.UtcNow);
            Assert.Empty(errors);
            Assert.NotNull(snapshot);
            Assert.Equal(3, sources.Length);
            Assert.All(sources, source => Assert.Equal(10, source.Text.Split("- id:").Length - 1));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private RequestPool Pool(string workload) => Pool(Workload.Named(workload)!);

    private RequestPool Pool(Workload workload) => new(fixture.Items, workload, seed: 1);

    private static CandidateBatch Read(byte[] request)
    {
        var batch = new CandidateBatch { Buffer = request };
        Assert.Null(FilterRequestReader.Read(batch, request.Length, new RequestLimits()));
        Assert.Null(FilterRequestRules.Check(batch));
        return batch;
    }

    private static string[] Ids(CandidateBatch batch) => [.. batch.Ids.Slices.ToArray().Select(id => id.ToString(batch.Buffer))];
}
