using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using SafetyFilter.Scoring.Text;

namespace SafetyFilter.Training.Data;

internal enum Fold
{
    /// <summary>Weights are learned from it.</summary>
    Train,

    /// <summary>A tenth of the training split: calibration and thresholds are chosen on it, weights never see it.</summary>
    Calibrate,

    /// <summary>The data set's own dev split: nothing is learned, calibrated or thresholded on it. Recipes were compared on it.</summary>
    Dev,
}

/// <summary>One text, what is known of it, and where it comes from.</summary>
internal sealed class Sample(string file, string source, string group, string kind, Fold fold, string text)
{
    public string File => file;
    public string Source => source;
    public string Group => group;
    public string Kind => kind;
    public Fold Fold => fold;
    public string Text => text;

    /// <summary>Whether the label of this head is the source's own; weak negatives are for learning, never for figures.</summary>
    public bool[] Labelled { get; } = new bool[Corpus.Heads.Length];

    /// <summary>1 or 0 per head, or a probability that a teacher gave; means something only where the weight is above 0.</summary>
    public float[] Labels { get; } = new float[Corpus.Heads.Length];

    /// <summary>How much the label counts in learning; 0 where nothing is known.</summary>
    public float[] Weights { get; } = new float[Corpus.Heads.Length];

    public bool Positive(int head) => Labels[head] > 0.5f;

    public Sample Copy()
    {
        var copy = new Sample(file, source, group, kind, fold, text);
        Labelled.CopyTo(copy.Labelled, 0);
        Labels.CopyTo(copy.Labels, 0);
        Weights.CopyTo(copy.Weights, 0);
        return copy;
    }
}

/// <summary>
/// The data sets as samples with masked labels: a text trains only the heads that its source speaks about, and as a weak
/// negative those of which its kind is free.
/// </summary>
internal static class Corpus
{
    public const int Toxicity = 0, Hate = 1, Harassment = 2, Spam = 3, Clickbait = 4, Injection = 5;

    public static readonly string[] Heads = ["toxicity", "hate", "harassment", "spam", "clickbait", "prompt-injection"];

    /// <summary>The files read, each with the column of its own label and that label's head (-1: none).</summary>
    public static readonly (string File, string Label, int Head)[] Files =
    [
        ("toxicity", "toxic", Toxicity),
        ("hate", "hate", Hate),
        ("harassment", "harassment", Harassment),
        ("spam", "spam", Spam),
        ("clickbait", "clickbait", Clickbait),
        ("injection", "injection", Injection),
        ("benign", "toxic", Toxicity),
        ("candidates", "", -1),
    ];

    public static List<Sample> Load(string folder)
    {
        var samples = new List<Sample>();
        foreach (var (file, label, head) in Files)
        {
            samples.AddRange(Load(folder, file, label, head));
        }

        samples.AddRange(CounterExamples.All());
        return samples;
    }

    /// <summary>One file's samples. Also for bias_templates, which is reported on and never learned from.</summary>
    public static IEnumerable<Sample> Load(string folder, string file, string label, int head)
    {
        var table = Table.Read(Path.Combine(folder, file + ".tsv.gz"));
        int split = table.Column("split"), source = table.Column("source"), group = table.Column("group"), kind = table.Column("kind"),
            text = table.Column("text"), own = table.Column(label);
        foreach (var row in table.Rows)
        {
            string kindOf = kind < 0 ? "" : row[kind];

            // Context-only attacks: ordinary requests unless an e-mail or a page says them. A text-only head must not learn them.
            if (kindOf == "indirect_text")
            {
                continue;
            }

            var fold = row[split] == "dev" ? Fold.Dev : IsCalibration(row[text]) ? Fold.Calibrate : Fold.Train;
            var sample = new Sample(file, row[source], row[group], kindOf, fold, row[text]);
            if (own >= 0 && row[own].Length > 0)
            {
                sample.Labelled[head] = true;
                sample.Labels[head] = row[own] == "1" ? 1 : 0;
                sample.Weights[head] = 1;
            }

            AddWeakNegatives(sample);
            yield return sample;
        }
    }

    // Each line is a judgement about a kind of text. Not drawn: that hateful or abusive text is free of toxicity or the
    // other way round (the sources disagree on what these words mean), and that video titles are free of clickbait.
    private static void AddWeakNegatives(Sample sample)
    {
        switch (sample.File)
        {
            case "benign":
                // Encyclopaedia sentences about people: the counter-examples to "an identity is mentioned".
                Negative(sample, 1f, Hate, Harassment, Injection);
                Negative(sample, 0.3f, Spam, Clickbait);
                break;
            case "candidates":
                // Popular titles, mostly harmless.
                Negative(sample, 0.5f, Toxicity, Hate, Harassment, Spam, Injection);
                if (sample.Source == "goodbooks_10k")
                {
                    Negative(sample, 0.3f, Clickbait);
                }

                break;
            case "clickbait":
                Negative(sample, 0.3f, Injection);
                if (!sample.Positive(Clickbait))
                {
                    // News agencies' headlines.
                    Negative(sample, 0.3f, Toxicity, Hate, Harassment, Spam);
                }

                break;
            case "injection":
                if (!sample.Positive(Injection))
                {
                    Negative(sample, 0.3f, Toxicity, Hate, Harassment);
                }

                break;
            case "spam":
                Negative(sample, 0.3f, Injection, Hate);
                break;
            default:
                // Tweets, comments and talk to bots are English, often long and often orders: they keep the injection head from
                // learning length and language alone.
                Negative(sample, 0.3f, Injection);
                break;
        }
    }

    private static void Negative(Sample sample, float weight, params ReadOnlySpan<int> heads)
    {
        foreach (int head in heads)
        {
            if (!sample.Labelled[head])
            {
                sample.Labels[head] = 0;
                sample.Weights[head] = weight;
            }
        }
    }

    // By the normalised text, so that the same text is on one side in every file.
    private static bool IsCalibration(string text)
    {
        Span<char> normalized = stackalloc char[1026];
        int length = TextNormalizer.Normalize(Encoding.UTF8.GetBytes(text), normalized);
        byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes($"calibrate|{normalized[..length]}"));
        return BinaryPrimitives.ReadUInt32BigEndian(hash) % 10 == 0;
    }
}
