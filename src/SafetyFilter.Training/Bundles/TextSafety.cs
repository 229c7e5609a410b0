using System.Text;
using System.Text.Json.Nodes;
using SafetyFilter.Scoring.Text;
using SafetyFilter.Training.Data;
using SafetyFilter.Training.Learning;
using SafetyFilter.Training.Onnx;

namespace SafetyFilter.Training.Bundles;

/// <summary>text-safety: one linear head per label family over hashed n-grams, read straight from titles.</summary>
internal static class TextSafety
{
    public static readonly TextFeaturizerOptions Featurizer = new(1 << 17, 7, [1, 2], [3, 5], 512, 1024);

    // Spam has few rows of three very different kinds: it needs more passes, a stronger pull to zero, and drowns in weak negatives.
    private static readonly LinearRecipe[] Recipes =
    [
        new(6, 0.3f, 0, 1),
        new(6, 0.3f, 0.003f, 1),
        new(6, 0.3f, 0.003f, 1),
        new(15, 0.5f, 0.003f, 0.02f),
        new(5, 0.3f, 2e-5f, 1),
        new(5, 0.3f, 2e-5f, 1),
    ];

    public static float[][] Build(string data, string root, int seed, IReadOnlyList<Sample> samples, IReadOnlyList<Sample> templates)
    {
        var features = Features(Featurizer, samples);
        var heads = new LinearHead[Corpus.Heads.Length];
        var calibration = new Platt[heads.Length];
        for (int head = 0; head < heads.Length; head++)
        {
            heads[head] = new LinearHead(Featurizer.Buckets);
            heads[head].Train(samples, features, head, Recipes[head], seed + head);
            calibration[head] = Heads.Calibrate(samples, head, [.. features.Select(f => heads[head].Margin(f))]);
        }

        byte[] model = Graphs.LinearHeads(heads, calibration);
        var bundle = new Bundle(root, "text-safety", "1.0.0");
        bundle.Add("model.onnx", model);

        var golden = Features(Featurizer, Golden.Texts);
        var expected = OnnxRunner.Text(model, heads.Length, golden);
        bundle.Add("golden.json", Golden.File([.. Golden.Texts.Select(text => new JsonObject { ["text"] = text })], Corpus.Heads, expected));

        var scores = OnnxRunner.Text(model, heads.Length, features);
        var templateScores = OnnxRunner.Text(model, heads.Length, Features(Featurizer, templates));
        var classifiers = new JsonObject();
        for (int head = 0; head < heads.Length; head++)
        {
            var report = new Report(samples, scores[head], head, templates, templateScores[head]);
            classifiers[Corpus.Heads[head]] = Heads.Describe(head, calibration[head], report);
        }

        bundle.WriteManifest(new JsonObject
        {
            ["description"] = "Linear heads over hashed word and character n-grams of a short text, one per label family.",
            ["owner"] = "SafetyFilter maintainers",
            ["features"] = new JsonArray(new JsonObject
            {
                ["kind"] = "text",
                ["feature"] = "text",
                ["inputs"] = new JsonObject { ["indices"] = Graphs.Indices, ["scale"] = Graphs.Scale },
                ["parameters"] = Bundle.Parameters(Featurizer),
            }),
            ["outputs"] = Heads.Outputs(Corpus.Heads),
            ["classifiers"] = classifiers,
            ["purposes"] = new JsonArray("recommendation"),
            ["surfaces"] = new JsonArray("*"),
            ["expires"] = "2028-12-31",
            ["training"] = Bundle.Training(data, seed, Heads.Limits),
        });
        return scores;
    }

    public static int[][] Features(TextFeaturizerOptions options, IEnumerable<Sample> samples) => Features(options, samples.Select(s => s.Text));

    public static int[][] Features(TextFeaturizerOptions options, IEnumerable<string> texts)
    {
        var featurizer = new TextFeaturizer(options);
        var buffer = new int[options.MaxFeatures];
        return [.. texts.Select(text => buffer[..featurizer.Featurize(Encoding.UTF8.GetBytes(text), buffer)])];
    }
}
