using System.Globalization;
using System.Text;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;

namespace SafetyFilter.Benchmarks.Micro;

/// <summary>The requests that the micro benchmarks are about, and the policy of ten rules that decides them. The same in every run.</summary>
internal static class MicroRequests
{
    /// <summary>256 candidates, an embedding of 128 float32 each.</summary>
    public const string E256 = "E256";

    /// <summary>64 candidates, a caption of 60 characters each.</summary>
    public const string T64 = "T64";

    /// <summary>As <see cref="E256"/> and <see cref="T64"/>, with 500 candidates.</summary>
    public const string E500 = "E500";

    public const string T500 = "T500";

    private const int EmbeddingLength = 128;
    private const int CaptionLength = 60;

    private static readonly Catalogue Titles = Catalogue.Load(null, seed: 1);

    /// <summary>The request in the client's hands.</summary>
    public static FilterQuery Compose(string workload)
    {
        var query = new FilterQuery { Surface = workload, RequestId = "micro-1", IdempotencyKey = "0123456789abcdef" };
        var random = new Random(1);
        Span<float> embedding = stackalloc float[EmbeddingLength];
        var count = int.Parse(workload[1..], CultureInfo.InvariantCulture);
        for (var candidate = 0; candidate < count; candidate++)
        {
            var row = query.AddCandidate(string.Create(CultureInfo.InvariantCulture, $"item:{candidate:D5}"));
            if (IsEmbeddings(workload))
            {
                foreach (ref var value in embedding)
                {
                    value = (random.NextSingle() - 0.5f) / 4;
                }

                row.Tensor("embedding", embedding);
            }
            else
            {
                row.Text("text", Caption(candidate, CaptionLength));
            }
        }

        return query;
    }

    /// <summary>Titles of the invented catalogue, joined and cut to a number of characters.</summary>
    public static string Caption(int number, int length)
    {
        var caption = new StringBuilder();
        for (; caption.Length < length; number++)
        {
            caption.Append(Titles.Ordinary[number % Titles.Ordinary.Count].Title).Append(" | ");
        }

        return caption.ToString(0, length);
    }

    /// <summary>The policy of a workload's surface. Its budget is the longest there is: a run that is cut short does less.</summary>
    public static string Policy(string workload)
    {
        var bundle = IsEmbeddings(workload) ? "embedding-safety" : "text-safety";
        return $$"""
            policy: {{workload}}
            owner: benchmarks
            surfaces: [{{workload}}]
            match: strongest
            budget_us: 1000000
            record: { durability: process }
            classifiers:
              {{bundle}}/toxicity: { fail: open }
              {{bundle}}/hate: { fail: open }
              {{bundle}}/spam: { fail: open }
              {{bundle}}/clickbait: { fail: open }
            rules:
              - { id: rule-0, when: { score: {{bundle}}/hate, at_least: 0.92 }, action: block, reason: RULE_0 }
              - { id: rule-1, when: { score: {{bundle}}/toxicity, at_least: 0.97 }, action: block, reason: RULE_1 }
              - { id: rule-2, when: { score: {{bundle}}/spam, at_least: 0.8 }, action: block, reason: RULE_2 }
              - { id: rule-3, when: { score: {{bundle}}/hate, at_least: 0.56 }, action: { demote: 0.1 }, reason: RULE_3 }
              - { id: rule-4, when: { score: {{bundle}}/toxicity, at_least: 0.85 }, action: { demote: 0.3 }, reason: RULE_4 }
              - { id: rule-5, when: { score: {{bundle}}/spam, at_least: 0.5 }, action: { demote: 0.2 }, reason: RULE_5 }
              - { id: rule-6, when: { score: {{bundle}}/clickbait, at_least: 0.97 }, action: { demote: 0.5 }, reason: RULE_6 }
              - { id: rule-7, when: { score: {{bundle}}/toxicity, at_least: 0.56 }, action: { age-restrict: 16 }, reason: RULE_7 }
              - { id: rule-8, when: { score: {{bundle}}/hate, at_least: 0.1 }, action: { label: rough }, reason: RULE_8 }
              - { id: rule-9, when: { score: {{bundle}}/spam, at_least: 0.1 }, action: { label: spam }, reason: RULE_9 }
            """;
    }

    private static bool IsEmbeddings(string workload) => workload[0] == 'E';
}
