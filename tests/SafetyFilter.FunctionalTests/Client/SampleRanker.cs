using SafetyFilter.Client;

namespace SafetyFilter.FunctionalTests.Client;

/// <summary>The ranker of the client's README, compiled and run.</summary>
internal static class SampleRanker
{
    public static async Task<IEnumerable<Video>> RankAsync(string target, IReadOnlyList<Video> ranked, ReceiptWriter receipts)
    {
        using var client = SafetyFilterClient.Connect(target, new() { HardSurfaces = ["kids"] });
        await client.WarmUpAsync();
        var query = new FilterQuery { Surface = "for-you", Territory = "DE", Deadline = TimeSpan.FromSeconds(30) };
        foreach (var video in ranked)
        {
            query.AddCandidate(video.Id, video.Version, "en").Text("text", video.Title);
        }

        var result = await client.FilterAsync(query);
        for (var row = 0; row < ranked.Count; row++)
        {
            ranked[row].Score *= result[row].Action == FilterAction.Block ? 0 : result[row].DemoteFactor;
        }

        receipts.Add(result);
        return ranked.Where(video => video.Score > 0).OrderByDescending(video => video.Score);
    }

    internal sealed class Video(string id, string title, float score)
    {
        public string Id => id;

        public string Version => "v1";

        public string Title => title;

        public float Score { get; set; } = score;
    }
}
