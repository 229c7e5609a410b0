using SafetyFilter.Cli.Traffic;

namespace SafetyFilter.FunctionalTests.Client;

public sealed class RankerTests
{
    private static readonly Catalogue Invented = Catalogue.Load(dataFolder: null, seed: 5);

    [Fact]
    public void Compose_SameSeedAndNumber_IsTheSameRequestWhateverCameBefore()
    {
        var reused = new Page();
        var ranker = new Ranker(Invented, seed: 5);
        for (var number = 0; number < 40; number++)
        {
            ranker.Compose(reused, number);
        }

        ranker.Compose(reused, 7);
        var fresh = new Page();
        new Ranker(Catalogue.Load(dataFolder: null, seed: 5), seed: 5).Compose(fresh, 7);

        Assert.Equal(fresh.Query.Seal(), reused.Query.Seal());
        new Ranker(Invented, seed: 6).Compose(fresh, 7);
        Assert.NotEqual(fresh.Query.Seal(), reused.Query.Seal());
    }

    [Fact]
    public void Compose_EveryFourthPage_PlacesHarmfulCandidatesAtTheKnownRanksAndNowhereElse()
    {
        var ranker = new Ranker(Invented, seed: 5);
        var page = new Page();
        var families = new HashSet<string>(StringComparer.Ordinal);
        for (var number = 0; number < 80; number++)
        {
            ranker.Compose(page, number);
            for (var rank = 0; rank < page.Items.Count; rank++)
            {
                var placed = number % Ranker.HarmEvery == 0 && Ranker.HarmRanks.Contains(rank);
                Assert.Equal(placed, page.Items[rank].Family is not null);
                families.Add(page.Items[rank].Family ?? "");
            }
        }

        Assert.Equal(Invented.Harmful.Select(family => family.Name).Append("").Order(StringComparer.Ordinal), families.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Compose_ChildrensSurface_HoldsOnlyDistinctItemsMadeForThem()
    {
        var page = new Page();
        new Ranker(Invented, seed: 5).Compose(page, 1, SurfaceProfile.Named("kids"), candidates: 64);

        Assert.Equal(64, page.Items.Distinct().Count());
        Assert.All(page.Items, item => Assert.True(item.MadeForKids));
        Assert.Equal("under-13", page.Query.AgeBand);
    }

    [Fact]
    public void Sample_ExponentOne_HalvesFromTheFirstRankToTheSecond()
    {
        var zipf = new Zipf(1_000, exponent: 1);
        var random = new SplitMix64(1);
        var counts = new int[1_000];
        for (var i = 0; i < 200_000; i++)
        {
            counts[zipf.Sample(ref random)]++;
        }

        // The harmonic number of 1000 is 7.485: the first rank gets 26,720 of the draws on average, give or take 150.
        Assert.InRange(counts[0], 25_900, 27_500);
        Assert.InRange(counts[1], 12_800, 13_900);
        Assert.InRange(counts[9], 2_400, 2_950);
    }

    [Fact]
    public void Load_FolderWithoutTables_SaysWhichFileIsMissing()
    {
        var empty = Directory.CreateTempSubdirectory("sf-data-");
        try
        {
            var error = Assert.Throws<TrafficException>(() => Catalogue.Load(empty.FullName, seed: 1));

            Assert.Contains("candidates.tsv.gz", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            empty.Delete(recursive: true);
        }
    }
}
