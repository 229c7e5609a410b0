using System.Text.Json.Nodes;
using SafetyFilter.Training.Data;
using SafetyFilter.Training.Learning;

namespace SafetyFilter.Training.Bundles;

/// <summary>What both bundles say alike about a head: its meaning, how far it may go, and which thresholds are shipped.</summary>
internal static class Heads
{
    public const string Limits =
        "English only, apart from some titles in eight languages that were learned as harmless: abuse in other languages is not found. "
        + "Threats rest on a few hundred rows. Sexual content, self-harm and misinformation are not covered. Vocabulary up to about 2022. "
        + "An attack that is one only in its context (an ordinary request inside somebody's e-mail) is out of a text-only head's reach. "
        + "Only the first 1024 characters of a normalised text are read. Related rows on both sides of the split (paraphrase pairs, "
        + "jailbreak clusters, mail threads) make the dev figures flatter than life. Benign groups with fewer than 20 rows are not judged.";

    // Half of what is required of a restricting threshold (3 %, 8 % for a group), so that unseen text has room.
    private static readonly ThresholdRule Block = new("block", 0.6, 0.95, 0.005, 0.005, 0.03);
    private static readonly ThresholdRule Demote = new("demote", 0.5, 0.85, 0.01, 0.01, 0.04);
    private static readonly ThresholdRule Label = new("label", 0.4, 0.75, 0.015, 0.015, 0.04);

    public static Platt Calibrate(IReadOnlyList<Sample> samples, int head, float[] margins)
    {
        int[] rows = [.. Enumerable.Range(0, samples.Count).Where(i => samples[i].Fold == Fold.Calibrate && samples[i].Weights[head] > 0)];
        return Platt.Fit(
            rows.Select(i => margins[i]).ToArray(),
            rows.Select(i => samples[i].Positive(head)).ToArray(),
            rows.Select(i => samples[i].Weights[head]).ToArray());
    }

    public static JsonObject Describe(int head, Platt calibration, Report report)
    {
        var (maxAction, reason, rules) = Power(head);
        var thresholds = report.ChooseThresholds(rules);
        var shipped = new JsonObject();
        foreach (var (action, threshold) in thresholds)
        {
            shipped[action] = threshold;
        }

        return new JsonObject
        {
            ["description"] = Description(head),
            ["maxAction"] = maxAction,
            ["maxActionReason"] = reason,
            ["calibration"] = new JsonObject { ["method"] = "platt", ["a"] = Math.Round(calibration.A, 6), ["b"] = Math.Round(calibration.B, 6) },
            ["thresholds"] = shipped,
            ["measured"] = report.Measure(thresholds),
        };
    }

    public static JsonArray Outputs(string[] heads) =>
        new(new JsonObject { ["name"] = "scores", ["classifiers"] = new JsonArray([.. heads.Select(h => JsonValue.Create(h))]) });

    private static string Description(int head) => head switch
    {
        Corpus.Toxicity => "Insult, profanity and general toxicity.",
        Corpus.Hate => "Attacks on people for who they are.",
        Corpus.Harassment => "Abuse aimed at an addressee, threats among it.",
        Corpus.Spam => "Unsolicited promotion, scams and prize bait.",
        Corpus.Clickbait => "Headlines that withhold what they are about.",
        Corpus.Injection => "Text that gives orders to a language model: jailbreaks and planted instructions.",
        _ => throw new ArgumentOutOfRangeException(nameof(head), head, "Describe every head of Corpus.Heads."),
    };

    private static (string MaxAction, string Reason, ThresholdRule[] Rules) Power(int head) => head switch
    {
        Corpus.Clickbait => ("demote", "Learned from news headlines; ordinary video titles share their style, so it must not take anything away.", [Demote, Label]),
        Corpus.Harassment => ("demote", "Its labels are few and say what is abusive in a conversation, not in a title.", [Demote, Label]),
        Corpus.Hate => ("block", "At the block threshold hardly any ordinary title or benign text is flagged; it finds little there, and its precision on labelled posts stands below.", [Block with { Precision = 0.8 }, Demote with { Precision = 0.7 }, Label with { Precision = 0.6 }]),
        _ => ("block", "At the block threshold it is right at least nine times in ten on its dev split and flags less than 1 % of harmless titles.", [Block, Demote, Label]),
    };
}
