using System.Text.Json.Nodes;
using SafetyFilter.Scoring.Text;
using SafetyFilter.Training.Data;
using SafetyFilter.Training.Learning;
using SafetyFilter.Training.Onnx;

namespace SafetyFilter.Training.Bundles;

/// <summary>embedding-safety: small networks over a content embedding, with the encoder that makes such embeddings from text offline.</summary>
internal static class EmbeddingSafety
{
    public const int Width = 128;

    private const int EncoderEpochs = 3, HeadEpochs = 2, Batch = 32;

    public static readonly TextFeaturizerOptions Featurizer = new(1 << 16, 11, [1, 2], [3, 5], 512, 1024);

    private static readonly int[] Served = [Corpus.Toxicity, Corpus.Hate, Corpus.Spam, Corpus.Clickbait];

    /// <param name="teacher">The scores of text-safety's heads for all samples.</param>
    public static void Build(string data, string root, int seed, IReadOnlyList<Sample> samples, IReadOnlyList<Sample> templates, float[][] teacher)
    {
        var taught = Taught(samples, teacher);
        var bundle = new Bundle(root, "embedding-safety", "1.0.0");
        bundle.Add("encoder.onnx", TrainEncoder(taught, seed));
        using var encoder = new TextEncoder(Path.Combine(bundle.Folder, "encoder.onnx"), Featurizer);
        var embeddings = encoder.Encode([.. samples.Select(s => s.Text)]);

        var heads = new Mlp[Served.Length];
        var calibration = new Platt[Served.Length];
        for (int i = 0; i < Served.Length; i++)
        {
            heads[i] = TrainHead(taught, embeddings, Served[i], seed + i);
            calibration[i] = Heads.Calibrate(samples, Served[i], [.. Enumerable.Range(0, samples.Count).Select(s => heads[i].Margin(embeddings.AsSpan(s * Width, Width)))]);
        }

        byte[] model = Graphs.MlpHeads(heads, calibration);
        bundle.Add("model.onnx", model);
        string[] names = [.. Served.Select(head => Corpus.Heads[head])];
        var golden = encoder.Encode(Golden.Texts);
        bundle.Add("golden.json", Golden.File(
            [.. golden.Chunk(Width).Select(row => new JsonObject { ["embedding"] = new JsonArray([.. row.Select(v => JsonValue.Create(v))]) })],
            names,
            OnnxRunner.Embeddings(model, names.Length, golden, Width)));

        var scores = OnnxRunner.Embeddings(model, names.Length, embeddings, Width);
        var templateScores = OnnxRunner.Embeddings(model, names.Length, encoder.Encode([.. templates.Select(s => s.Text)]), Width);
        var classifiers = new JsonObject();
        for (int i = 0; i < Served.Length; i++)
        {
            classifiers[names[i]] = Heads.Describe(Served[i], calibration[i], new Report(samples, scores[i], Served[i], templates, templateScores[i]));
        }

        bundle.WriteManifest(new JsonObject
        {
            ["description"] = "A 128-64-32-1 network per label family over a content embedding of length 1.",
            ["owner"] = "SafetyFilter maintainers",
            ["features"] = new JsonArray(new JsonObject
            {
                ["kind"] = "tensor",
                ["feature"] = "embedding",
                ["input"] = Graphs.Embedding,
                ["dtype"] = "float32",
                ["shape"] = new JsonArray(Width),
                ["range"] = new JsonArray(-100, 100),
            }),
            ["outputs"] = Heads.Outputs(names),
            ["classifiers"] = classifiers,
            ["encoder"] = new JsonObject
            {
                ["description"] = "Offline: makes the embedding of a text. Not served.",
                ["file"] = "encoder.onnx",
                ["inputs"] = new JsonObject { ["indices"] = Graphs.Indices },
                ["output"] = Graphs.Embedding,
                ["parameters"] = Bundle.Parameters(Featurizer),
            },
            ["purposes"] = new JsonArray("recommendation"),
            ["surfaces"] = new JsonArray("*"),
            ["expires"] = "2028-12-31",
            ["training"] = Bundle.Training(data, seed, Heads.Limits + " The heads are right only for embeddings of this bundle's encoder."),
        });
    }

    // Spam has few rows, and in so small a space weak negatives drown them: for texts without a label the head of text-safety,
    // which has neither trouble, says what it thinks.
    private static List<Sample> Taught(IReadOnlyList<Sample> samples, float[][] teacher)
    {
        var taught = new List<Sample>(samples.Count);
        for (int i = 0; i < samples.Count; i++)
        {
            var sample = samples[i].Copy();
            if (!sample.Labelled[Corpus.Spam])
            {
                sample.Labels[Corpus.Spam] = teacher[Corpus.Spam][i];
                sample.Weights[Corpus.Spam] = 0.1f;
            }

            taught.Add(sample);
        }

        return taught;
    }

    private static byte[] TrainEncoder(IReadOnlyList<Sample> samples, int seed)
    {
        var features = TextSafety.Features(Featurizer, samples);
        var trainer = new EncoderTrainer(Featurizer.Buckets, Width, Corpus.Heads.Length, seed);
        int[] order = [.. Enumerable.Range(0, samples.Count).Where(i => samples[i].Fold == Fold.Train)];
        var random = new Random(seed);
        for (int epoch = 0; epoch < EncoderEpochs; epoch++)
        {
            trainer.TrainEpoch(order, samples, features, headRate: 0.5f, rowRate: 0.02f, random);
        }

        var (table, columnScale) = trainer.Quantize();
        return Graphs.Encoder(table, columnScale);
    }

    private static Mlp TrainHead(IReadOnlyList<Sample> samples, float[] embeddings, int head, int seed)
    {
        var mlp = new Mlp(seed, Width, 64, 32, 1);
        int[] rows = [.. Enumerable.Range(0, samples.Count).Where(i => samples[i].Fold == Fold.Train && samples[i].Weights[head] > 0)];
        float[] labels = [.. samples.Select(s => s.Labels[head])];
        float[] weights = [.. samples.Select(s => s.Weights[head])];
        var random = new Random(seed);
        for (int epoch = 0; epoch < HeadEpochs; epoch++)
        {
            mlp.TrainEpoch(embeddings, rows, labels, weights, rate: 1e-3f, decay: 1e-3f, Batch, random);
        }

        return mlp;
    }
}
