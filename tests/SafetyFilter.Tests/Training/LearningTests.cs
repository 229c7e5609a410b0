using Microsoft.ML.OnnxRuntime;
using SafetyFilter.Scoring.Text;
using SafetyFilter.Training.Bundles;
using SafetyFilter.Training.Data;
using SafetyFilter.Training.Learning;
using SafetyFilter.Training.Onnx;

namespace SafetyFilter.Tests.Training;

public sealed class LearningTests
{
    private static readonly TextFeaturizerOptions Options = new(1 << 10, 3, [1, 2], [3], 64, 128);

    [Fact]
    public void Auc_KnownRanking_IsTheShareOfOrderedPairs()
    {
        // Positives 0.9, 0.4; negatives 0.5, 0.4, 0.1: of 6 pairs 4 are in order and one is a tie.
        Assert.Equal(4.5 / 6, Metrics.Auc([0.9f, 0.5f, 0.4f, 0.4f, 0.1f], [true, false, true, false, false]), 12);
        Assert.Equal(1, Metrics.Auc([0.2f, 0.8f], [false, true]), 12);
        Assert.Equal(0, Metrics.Auc([0.8f, 0.2f], [false, true]), 12);
        Assert.Equal(double.NaN, Metrics.Auc([0.8f, 0.2f], [true, true]));
    }

    [Fact]
    public void Fit_ScoresDrawnFromALogistic_RecoversItsSlopeAndOffset()
    {
        var random = new Random(5);
        var scores = new float[20_000];
        var labels = new bool[scores.Length];
        for (int i = 0; i < scores.Length; i++)
        {
            scores[i] = (random.NextSingle() * 8) - 4;
            labels[i] = random.NextDouble() < Metrics.Sigmoid((0.7 * scores[i]) - 1.5);
        }

        var platt = Platt.Fit(scores, labels, Enumerable.Repeat(1f, scores.Length).ToArray());
        Assert.Equal(0.7, platt.A, 0.05);
        Assert.Equal(-1.5, platt.B, 0.1);
    }

    [Fact]
    public void Fit_WeightTwo_CountsAsTwoRows()
    {
        var once = Platt.Fit([1, -1, 0.5f, -2], [true, false, false, false], [2, 1, 1, 1]);
        var twice = Platt.Fit([1, 1, -1, 0.5f, -2], [true, true, false, false, false], [1, 1, 1, 1, 1]);
        Assert.Equal(twice.A, once.A, 1e-6);
        Assert.Equal(twice.B, once.B, 1e-6);
    }

    [Fact]
    public void LinearHead_SeparableTexts_ScoresUnseenOnesOnTheRightSide()
    {
        var (samples, features, head) = Learn();
        var unseen = TextSafety.Features(Options, ["a rotten apple", "a lovely apple"]);
        Assert.True(head.Margin(unseen[0]) > 1);
        Assert.True(head.Margin(unseen[1]) < -1);
        Assert.Equal(0, head.Weights[0]);
        Assert.Equal(samples.Count, features.Length);
    }

    [Fact]
    public void LinearHead_SameSeed_LearnsTheSameBits() => Assert.Equal(Learn().Head.Weights, Learn().Head.Weights);

    [Fact]
    public void LinearHeads_WrittenAsOnnx_ScoreAsTheTrainerDoes()
    {
        var (_, features, head) = Learn();
        var platt = new Platt(1.5, -0.25);
        var scores = OnnxRunner.Text(Graphs.LinearHeads([head, head], [platt, new Platt(1, 0)]), 2, features);
        for (int i = 0; i < features.Length; i++)
        {
            Assert.Equal(platt.Apply(head.Margin(features[i])), scores[0][i], 1e-5);
            Assert.Equal(Metrics.Sigmoid(head.Margin(features[i])), scores[1][i], 1e-5);
        }
    }

    [Fact]
    public void Mlp_ExclusiveOr_IsLearnedAndWrittenAsOnnx()
    {
        var mlp = new Mlp(7, 2, 8, 8, 1);
        float[] inputs = [0, 0, 0, 1, 1, 0, 1, 1];
        float[] labels = [0, 1, 1, 0];
        var random = new Random(1);
        for (int epoch = 0; epoch < 500; epoch++)
        {
            mlp.TrainEpoch(inputs, [0, 1, 2, 3], labels, [1, 1, 1, 1], rate: 0.01f, decay: 0, batch: 2, random);
        }

        var scores = OnnxRunner.Embeddings(Graphs.MlpHeads([mlp], [new Platt(1, 0)]), 1, inputs, 2)[0];
        for (int i = 0; i < 4; i++)
        {
            float margin = mlp.Margin(inputs.AsSpan(i * 2, 2));
            Assert.Equal(labels[i] > 0, margin > 2);
            Assert.Equal(labels[i] <= 0, margin < -2);
            Assert.Equal(Metrics.Sigmoid(margin), scores[i], 1e-5);
        }
    }

    [Fact]
    public void EncoderTrainer_TwoKindsOfText_PutsAKindOnOneSideAndWritesUnitVectors()
    {
        var samples = Samples();
        var features = TextSafety.Features(Options, samples);
        var trainer = new EncoderTrainer(Options.Buckets, 8, Corpus.Heads.Length, seed: 2);
        var random = new Random(3);
        for (int epoch = 0; epoch < 30; epoch++)
        {
            trainer.TrainEpoch([.. Enumerable.Range(0, samples.Count)], samples, features, 0.5f, 0.02f, random);
        }

        var (table, scale) = trainer.Quantize();
        string path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        File.WriteAllBytes(path, Graphs.Encoder(table, scale));
        try
        {
            using var encoder = new TextEncoder(path, Options);
            var e = encoder.Encode(["a rotten apple", "the rotten fish", "a lovely apple", ""]);
            double dot(int a, int b) => Enumerable.Range(0, 8).Sum(i => (double)e[(a * 8) + i] * e[(b * 8) + i]);
            Assert.Equal(1, dot(0, 0), 1e-5);
            Assert.Equal(0, dot(3, 3));
            Assert.True(dot(0, 1) > dot(0, 2) + 0.5);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void OnnxModel_OneNode_IsAcceptedWithItsNamesAndShapes()
    {
        var model = new OnnxModel("tiny");
        model.Node("Mul", model.FloatOutput("y", "N", 2), [model.FloatInput("x", "N", 2), model.Constant("factor", [2f, -1f], 2)]);
        using var session = new InferenceSession(model.ToArray());
        Assert.Equal([-1, 2], session.InputMetadata["x"].Dimensions);
        using var x = OrtValue.CreateTensorValueFromMemory(new float[] { 1, 2, 3, 4 }, [2, 2]);
        using var run = new RunOptions();
        using var outputs = session.Run(run, ["x"], [x], ["y"]);
        Assert.Equal([2, -2, 6, -4], outputs[0].GetTensorDataAsSpan<float>().ToArray());
    }

    private static (List<Sample> Samples, int[][] Features, LinearHead Head) Learn()
    {
        var samples = Samples();
        var features = TextSafety.Features(Options, samples);
        var head = new LinearHead(Options.Buckets);
        head.Train(samples, features, Corpus.Toxicity, new LinearRecipe(20, 0.5f, 1e-4f, 1), seed: 4);
        return (samples, features, head);
    }

    private static List<Sample> Samples()
    {
        var samples = new List<Sample>();
        foreach (string noun in (string[])["day", "song", "fish", "dinner", "plan", "week", "idea", "story", "boat", "shoe"])
        {
            foreach (string word in (string[])["rotten", "lovely"])
            {
                var sample = new Sample("made", "up", "", "", Fold.Train, $"the {word} {noun}");
                sample.Labels[Corpus.Toxicity] = word == "rotten" ? 1 : 0;
                sample.Weights[Corpus.Toxicity] = 1;
                sample.Labelled[Corpus.Toxicity] = true;
                samples.Add(sample);
            }
        }

        return samples;
    }
}
