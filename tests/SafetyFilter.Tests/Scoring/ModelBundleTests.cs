using System.Runtime.InteropServices;
using CsCheck;
using Microsoft.ML.OnnxRuntime;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;
using SafetyFilter.Scoring.Text;

namespace SafetyFilter.Tests.Scoring;

public sealed class ModelBundleTests
{
    private const string TextFeature = """
        { "kind": "text", "feature": "text", "inputs": { "indices": "indices", "scale": "scale" },
          "parameters": { "buckets": 512, "seed": 7, "wordNgrams": [1, 2], "charNgrams": [3, 4], "maxFeatures": 64, "maxChars": 128 } }
        """;

    // Subnormal numbers are read as zero, which is the one difference from handing the bytes over.
    private static readonly Gen<float[][]> Rows =
        Gen.Float[-50, 50].Select(number => float.IsSubnormal(number) ? 0 : number).Array[8].Array[1, 80];

    [Fact]
    public void Score_RandomTensors_EqualsOnnxRuntimeBitForBit()
    {
        var weights = Weights(8 * 3);
        using var bundle = TestBundle.Linear(weights, 8, ["a", "b", "c"]);
        using var model = bundle.Load();
        using var options = SessionSettings.Create();
        using var direct = new InferenceSession(bundle.Model, options);
        Rows.Sample(
            rows =>
            {
                var (outcome, table) = model.Score(BatchBuilder.Of(rows.Length).Tensor("embedding", rows).Build());
                Assert.Equal(default, outcome);
                AssertSame(Direct(direct, rows), table, 3);
            },
            iter: 100,
            threads: 1);
    }

    [Fact]
    public void Score_Float16Tensor_EqualsOnnxRuntimeOnTheWidenedNumbers()
    {
        using var bundle = TestBundle.Linear(Weights(8 * 2), 8, ["a", "b"]);
        using var model = bundle.Load();
        using var options = SessionSettings.Create();
        using var direct = new InferenceSession(bundle.Model, options);
        Rows.Sample(
            rows =>
            {
                var widened = Array.ConvertAll(rows, row => Array.ConvertAll(row, number => (float)(Half)number));
                var (outcome, table) = model.Score(BatchBuilder.Of(rows.Length).HalfTensor("embedding", rows).Build());
                Assert.Equal(default, outcome);
                AssertSame(Direct(direct, widened), table, 2);
            },
            iter: 50,
            threads: 1);
    }

    [Fact]
    public void Score_RandomTexts_EqualsOnnxRuntimeOnPaddedIndices()
    {
        using var bundle = TextBundle();
        using var model = bundle.Load();
        using var options = SessionSettings.Create();
        using var direct = new InferenceSession(bundle.Model, options);
        var featurizer = new TextFeaturizer(((TextFeatureSpec)model.Manifest.Features[0]).Options);
        Gen.String[Gen.Char.AlphaNumeric, 0, 60].Array[1, 20].Sample(
            texts =>
            {
                var (outcome, table) = model.Score(BatchBuilder.Of(texts.Length).Text("text", texts).Build());
                Assert.Equal(default, outcome);
                AssertSame(DirectText(direct, featurizer, texts), table, 2);
            },
            iter: 100,
            threads: 1);
    }

    [Fact]
    public void Score_SameBatchAfterOthersOfOtherSizes_GivesTheSameBits()
    {
        using var bundle = TextBundle();
        using var model = bundle.Load();
        var batch = BatchBuilder.Of(3).Text("text", "one two three", "", "a much longer text than the others").Build();
        var first = model.Score(batch).Table.All.ToArray();
        model.Score(BatchBuilder.Of(40).Text("text", [.. Enumerable.Repeat("something else altogether", 40)]).Build());
        model.Score(BatchBuilder.Of(1).Text("text", "x").Build());
        Assert.Equal(MemoryMarshal.AsBytes<float>(first), MemoryMarshal.AsBytes(model.Score(batch).Table.All));
    }

    [Fact]
    public void Score_NoCandidates_DoesNothing()
    {
        using var bundle = TestBundle.Simple();
        using var model = bundle.Load();
        Assert.Equal(default, model.Score(BatchBuilder.Of(0).Build()).Outcome);
    }

    [Fact]
    public void Score_SubnormalNumbers_ScoreAsZero()
    {
        using var bundle = TestBundle.Linear([1e38f, 0], 2, ["alpha"]);
        using var model = bundle.Load();
        Assert.Equal([0.5f], model.Score(BatchBuilder.Of(1).Tensor("embedding", [1.1e-38f, 0]).Build()).Table.Row(0).ToArray());
    }

    [Fact]
    public void Score_FeatureAbsent_FailsTheBundleAsMissing()
    {
        using var bundle = TestBundle.Simple();
        using var model = bundle.Load();
        Assert.Equal(new ScoringOutcome(FailureKind.MissingFeature, 0, null), model.Score(BatchBuilder.Of(2).Text("embedding", "a", "b").Build()).Outcome);
    }

    [Fact]
    public void Score_OtherRowShape_FailsTheBundleAsMismatch()
    {
        using var bundle = TestBundle.Simple();
        using var model = bundle.Load();
        var longer = BatchBuilder.Of(1).Tensor("embedding", [1f, 2, 3]).Build();
        var deeper = BatchBuilder.Of(1).Tensor("embedding", DataType.Float32, [2, 1], [1f, 2]).Build();
        var unknown = BatchBuilder.Of(1).Tensor("embedding", (DataType)9, [2], [1f, 2]).Build();
        Assert.Equal(FailureKind.FeatureMismatch, model.Score(longer).Outcome.Failure);
        Assert.Equal(FailureKind.FeatureMismatch, model.Score(deeper).Outcome.Failure);
        Assert.Equal(FailureKind.FeatureMismatch, model.Score(unknown).Outcome.Failure);
    }

    [Fact]
    public void Score_CandidatesWithoutTheFeature_FailAloneAsMissing()
    {
        using var bundle = TestBundle.Simple();
        using var model = bundle.Load();
        var (outcome, table) = model.Score(BatchBuilder.Of(3).Tensor("embedding", [1f, 0], null, [0f, 1]).Build());
        Assert.Equal(default, outcome);
        Assert.Equal([FailureKind.None, FailureKind.MissingFeature, FailureKind.None], table.Failures(0).ToArray());
        Assert.True(float.IsNaN(table.Row(0)[1]));
        Assert.True(table.Row(0)[0] > 0.7 && table.Row(0)[2] < 0.3);
        Assert.True(table.IsIncomplete(0));
    }

    [Fact]
    public void Score_NoCandidateHasTheFeature_MarksAllWithoutFailingTheBundle()
    {
        using var bundle = TestBundle.Simple();
        using var model = bundle.Load();
        var (outcome, table) = model.Score(BatchBuilder.Of(2).Tensor("embedding", DataType.Float32, [2], null, null).Build());
        Assert.Equal(default, outcome);
        Assert.Equal([FailureKind.MissingFeature, FailureKind.MissingFeature], table.Failures(0).ToArray());
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(1e38f)]
    [InlineData(100.00001f)]
    [InlineData(-100.00001f)]
    public void Score_NumberOutsideTheRange_FailsThatCandidateAsMismatch(float number)
    {
        using var bundle = TestBundle.Linear(Weights(19), 19, ["alpha"]);
        using var model = bundle.Load();
        for (var place = 0; place < 19; place++)
        {
            var bad = new float[19];
            bad[place] = number;
            var (outcome, table) = model.Score(BatchBuilder.Of(3).Tensor("embedding", new float[19], bad, new float[19]).Build());
            Assert.Equal(default, outcome);
            Assert.Equal([FailureKind.None, FailureKind.FeatureMismatch, FailureKind.None], table.Failures(0).ToArray());
            Assert.Equal([0.5f, 0.5f], new[] { table.Row(0)[0], table.Row(0)[2] });
        }
    }

    [Theory]
    [InlineData(-1f)] // log gives NaN
    [InlineData(0f)] // minus infinity
    [InlineData(0.5f)] // below 0
    [InlineData(5f)] // above 1
    public void Score_OutputIsNoProbability_FailsThatCandidateAndCounts(float number)
    {
        using var bundle = Logarithm();
        using var model = bundle.Load();
        var (outcome, table) = model.Score(BatchBuilder.Of(3).Tensor("embedding", [1f], [number], [2f]).Build());
        Assert.Equal(new ScoringOutcome(FailureKind.None, 1, null), outcome);
        Assert.Equal([FailureKind.None, FailureKind.InvalidOutput, FailureKind.None], table.Failures(0).ToArray());
        Assert.Equal(0f, table.Row(0)[0]);
        Assert.True(float.IsNaN(table.Row(0)[1]));
    }

    [Fact]
    public void Score_InvalidOutputOfAMissingCandidate_IsTheCallersFault()
    {
        using var bundle = Logarithm();
        using var model = bundle.Load();
        var (outcome, table) = model.Score(BatchBuilder.Of(2).Tensor("embedding", [1f], null).Build());
        Assert.Equal(0, outcome.InvalidOutputs);
        Assert.Equal(FailureKind.MissingFeature, table.Failures(0)[1]);
    }

    [Fact]
    public void Score_OutputShapeDependsOnData_FailsTheBundleAsInvalidOutput()
    {
        // Drops the rows that are not positive: [N, 1] becomes shorter than the batch.
        var graph = Onnx.Graph(
            [
                Onnx.Node("Greater", ["embedding", "zero"], ["keep"]),
                Onnx.Node("Reshape", ["keep", "flat"], ["keepFlat"]),
                Onnx.Node("Compress", ["embedding", "keepFlat"], ["scores"], Onnx.Attribute("axis", 0)),
            ],
            [Onnx.Value("embedding", Onnx.Float, -1, 1)],
            [Onnx.Value("scores", Onnx.Float, -1, 1)],
            Onnx.Tensor("zero", [0f], 1),
            Onnx.Tensor("flat", [-1L], 1));
        using var bundle = Numbers(Onnx.Model(graph).Bytes, 0.5f, 0.5);
        using var model = bundle.Load();
        Assert.Equal(default, model.Score(BatchBuilder.Of(2).Tensor("embedding", [0.1f], [0.2f]).Build()).Outcome);
        var outcome = model.Score(BatchBuilder.Of(2).Tensor("embedding", [0.1f], [-1f]).Build()).Outcome;
        Assert.True(outcome.Failure == FailureKind.InvalidOutput, outcome.Error?.Message);
        Assert.IsType<OnnxRuntimeException>(outcome.Error);
    }

    [Fact]
    public void Score_ModelThrows_FailsTheBundleAsErrorAndScoresTheNextBatch()
    {
        using var bundle = Lookup();
        using var model = bundle.Load();
        var outcome = model.Score(BatchBuilder.Of(2).Tensor("embedding", [1f], [7f]).Build()).Outcome;
        Assert.Equal(FailureKind.Error, outcome.Failure);
        Assert.IsType<OnnxRuntimeException>(outcome.Error);
        Assert.Equal([0.75f], model.Score(BatchBuilder.Of(1).Tensor("embedding", [1f]).Build()).Table.Row(0).ToArray());
    }

    [Fact]
    public void Score_RowsThatAreNotScored_NeverReachTheModel()
    {
        using var bundle = Lookup();
        bundle.Manifest["features"]![0]!["range"] = new System.Text.Json.Nodes.JsonArray(0, 1);
        using var model = bundle.Load();
        var (outcome, table) = model.Score(BatchBuilder.Of(3).Tensor("embedding", [7f], [1f], null).Build());
        Assert.Equal(default, outcome);
        Assert.Equal([FailureKind.FeatureMismatch, FailureKind.None, FailureKind.MissingFeature], table.Failures(0).ToArray());
    }

    [Fact]
    public void Score_SameCountButOtherLongestText_ScoresAsAFreshModel()
    {
        using var bundle = TextBundle();
        using var used = bundle.Load();
        foreach (var texts in (string[][])[["a", "b c"], ["one two three", "four"], ["x", ""]])
        {
            using var fresh = bundle.Load();
            var batch = BatchBuilder.Of(2).Text("text", texts).Build();
            Assert.Equal(fresh.Score(batch).Table.All, used.Score(batch).Table.All);
        }
    }

    [Fact]
    public void Score_TwoOutputsAndTwoKindsOfFeature_FillTheWantedSlots()
    {
        var graph = Onnx.Graph(
            [
                Onnx.Node("Gather", ["w", "indices"], ["rows"]),
                Onnx.Node("ReduceSum", ["rows", "axis"], ["sums"], Onnx.Attribute("keepdims", 0)),
                Onnx.Node("Mul", ["sums", "scale"], ["logits"]),
                Onnx.Node("Sigmoid", ["logits"], ["scores"]),
                Onnx.Node("HardSigmoid", ["embedding"], ["pair"]),
            ],
            [Onnx.Value("indices", Onnx.Int32, -1, -1), Onnx.Value("scale", Onnx.Float, -1, 1), Onnx.Value("embedding", Onnx.Float, -1, 2)],
            [Onnx.Value("scores", Onnx.Float, -1, 1), Onnx.Value("pair", Onnx.Float, -1, 2)],
            Onnx.Tensor("w", TextWeights(512, 1), 512, 1),
            Onnx.Tensor("axis", [1L], 1));
        using var bundle = new TestBundle(Onnx.Model(graph).Bytes, $"[{TextFeature}, {TestBundle.EmbeddingFeature(2)[1..]}", labels: ["text", "left", "right"]);
        bundle.Manifest["outputs"] = System.Text.Json.Nodes.JsonNode.Parse("""
            [ { "name": "pair", "classifiers": ["left", "right"] }, { "name": "scores", "classifiers": ["text"] } ]
            """);
        bundle.SetGoldenRow([0, 0]);
        bundle.Golden["candidates"]![0]!["text"] = "";
        using var model = bundle.Load();
        Assert.Equal(["numbers/left", "numbers/right", "numbers/text"], model.Classifiers);

        var batch = BatchBuilder.Of(3).Text("text", "", null, "").Tensor("embedding", [9f, -9], [9f, -9], null).Build();
        var table = new ScoreTable();
        table.Reset(4, 3);
        table.Row(0).Fill(0.125f);
        table.Row(3).Fill(0.125f);
        Assert.Equal(default, model.Score(batch, table, [2, -1, 1]));
        Assert.Equal(0.5f, table.Row(1)[0]);
        Assert.True(table.Row(2)[0] > 0.99);
        FailureKind[] either = [FailureKind.None, FailureKind.MissingFeature, FailureKind.MissingFeature];
        Assert.Equal(either, table.Failures(1).ToArray());
        Assert.Equal(either, table.Failures(2).ToArray());
        Assert.Equal([0.125f, 0.125f, 0.125f, 0.125f, 0.125f, 0.125f], [.. table.Row(0), .. table.Row(3)]);
    }

    [Fact]
    public void Score_FromManyThreads_GivesEachTheScoresOfItsOwnBatch()
    {
        using var bundle = TestBundle.Linear(Weights(8 * 2), 8, ["a", "b"]);
        using var model = bundle.Load();
        var batches = Enumerable.Range(1, 12).Select(count =>
            BatchBuilder.Of(count * 5).Tensor("embedding", [.. Enumerable.Range(0, count * 5).Select(row => Weights(8, count * 100 + row))]).Build()).ToArray();
        var expected = batches.Select(batch => model.Score(batch).Table.All.ToArray()).ToArray();
        Parallel.For(0, 1200, new ParallelOptions { MaxDegreeOfParallelism = 8 }, i =>
        {
            var (outcome, table) = model.Score(batches[i % 12]);
            Assert.Equal(default, outcome);
            Assert.Equal(expected[i % 12], table.All.ToArray());
        });
    }

    [Fact]
    public void Score_WhileAndAfterDispose_NeverCrashesAndFailsAsErrorOnceGone()
    {
        using var bundle = TestBundle.Simple();
        using var model = bundle.Load();
        var batch = BatchBuilder.Of(64).Tensor("embedding", [.. Enumerable.Repeat(new float[] { 1, 0 }, 64)]).Build();
        var runs = 0;
        var threads = Enumerable.Range(0, 4).Select(_ => new Thread(() =>
        {
            while (model.Score(batch).Outcome is { Failure: FailureKind.None })
            {
                // The hundredth run pulls the model away from under the others.
                if (Interlocked.Increment(ref runs) == 100)
                {
                    model.Dispose();
                }
            }
        })).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        var outcome = model.Score(batch).Outcome;
        Assert.Equal(FailureKind.Error, outcome.Failure);
        Assert.IsType<ObjectDisposedException>(outcome.Error);
    }

    [Fact]
    public void Score_SameSizeAgain_AllocatesNothing()
    {
        using var numbers = TestBundle.Linear(Weights(8 * 3), 8, ["a", "b", "c"]);
        using var texts = TextBundle();
        using var numbersModel = numbers.Load();
        using var textModel = texts.Load();
        var rows = Enumerable.Range(0, 64).Select(row => Weights(8, row)).ToArray();
        var batch = BatchBuilder.Of(64).Text("text", [.. Enumerable.Repeat("a title of words", 64)]).HalfTensor("embedding", rows).Build();
        Assert.Equal(0, BytesPerCall(numbersModel, batch));
        Assert.Equal(0, BytesPerCall(textModel, batch));
    }

    [Fact]
    public void Score_EverChangingSizes_AllocatesOnlyValuesAndNames()
    {
        using var texts = TextBundle();
        using var model = texts.Load();
        var small = BatchBuilder.Of(3).Text("text", "a", "b", "c").Build();
        var large = BatchBuilder.Of(64).Text("text", [.. Enumerable.Repeat("a title of words", 64)]).Build();
        var bytes = (BytesPerCall(model, small, large) + 1) / 2;
        TestContext.Current.TestOutputHelper?.WriteLine($"{bytes} bytes per call");
        Assert.InRange(bytes, 1, 1500);
    }

    private static long BytesPerCall(ModelBundle model, params CandidateBatch[] batches)
    {
        var table = new ScoreTable();
        int[] slots = [.. Enumerable.Range(0, model.Classifiers.Length)];
        table.Reset(model.Classifiers.Length, 64);
        return AllocatedBytes.Of(100, () =>
        {
            foreach (var batch in batches)
            {
                table.Reset(model.Classifiers.Length, batch.Count);
                model.Score(batch, table, slots);
            }
        }) / 100;
    }

    // Looks a row of a table of two up by the number: 7 is beyond it and throws.
    private static TestBundle Lookup() => Numbers(
        Onnx.Model(Onnx.Graph(
            [Onnx.Node("Cast", ["embedding"], ["index"], Onnx.Attribute("to", Onnx.Int64)), Onnx.Node("Gather", ["table", "index"], ["scores"])],
            [Onnx.Value("embedding", Onnx.Float, -1, 1)],
            [Onnx.Value("scores", Onnx.Float, -1, 1)],
            Onnx.Tensor("table", [0.25f, 0.75f], 2))).Bytes,
        0,
        0.25);

    private static TestBundle Logarithm() => Numbers(Onnx.Single("Log"), 1, 0);

    private static TestBundle Numbers(byte[] model, float golden, double expected)
    {
        var bundle = new TestBundle(model, TestBundle.EmbeddingFeature(1));
        bundle.SetGoldenRow([golden]);
        bundle.Golden["expected"]!["alpha"]![0] = expected;
        return bundle;
    }

    private static TestBundle TextBundle()
    {
        var bundle = new TestBundle(Onnx.Text(TextWeights(512, 2), 512, 2), $"[{TextFeature}]", "texts", ["a", "b"]);
        bundle.Golden["candidates"]![0]!["text"] = "";
        return bundle;
    }

    // Row 0 is the padding's and weighs nothing.
    private static float[] TextWeights(int buckets, int labels)
    {
        var weights = Weights(buckets * labels);
        weights.AsSpan(0, labels).Clear();
        return weights;
    }

    private static float[] Weights(int count, int seed = 1)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
    }

    private static float[] Direct(InferenceSession session, float[][] rows)
    {
        var flat = rows.SelectMany(row => row).ToArray();
        using var input = OrtValue.CreateTensorValueFromMemory(flat, [rows.Length, rows[0].Length]);
        using var outputs = session.Run(new RunOptions(), ["embedding"], [input], ["scores"]);
        return outputs[0].GetTensorDataAsSpan<float>().ToArray();
    }

    private static float[] DirectText(InferenceSession session, TextFeaturizer featurizer, string[] texts)
    {
        var rows = Array.ConvertAll(texts, text =>
        {
            var indices = new int[64];
            return indices[..featurizer.Featurize(System.Text.Encoding.UTF8.GetBytes(text), indices)];
        });
        var longest = Math.Max(1, rows.Max(row => row.Length));
        var padded = rows.SelectMany(row => row.Concat(new int[longest - row.Length])).ToArray();
        var scales = Array.ConvertAll(rows, row => row.Length == 0 ? 0 : 1 / MathF.Sqrt(row.Length));
        using var indices = OrtValue.CreateTensorValueFromMemory(padded, [rows.Length, longest]);
        using var scale = OrtValue.CreateTensorValueFromMemory(scales, [rows.Length, 1]);
        using var outputs = session.Run(new RunOptions(), ["indices", "scale"], [indices, scale], ["scores"]);
        return outputs[0].GetTensorDataAsSpan<float>().ToArray();
    }

    // Bits, not numbers: expected is candidate-major, the table classifier-major.
    private static void AssertSame(float[] expected, ScoreTable table, int labels)
    {
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.Equal(BitConverter.SingleToInt32Bits(expected[i]), BitConverter.SingleToInt32Bits(table.Row(i % labels)[i / labels]));
        }
    }
}
