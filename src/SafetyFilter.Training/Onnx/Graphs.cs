using System.Globalization;
using SafetyFilter.Training.Learning;

namespace SafetyFilter.Training.Onnx;

/// <summary>The graphs of the reference bundles. Calibration is folded into the last linear step, so it costs nothing.</summary>
internal static class Graphs
{
    public const string Indices = "ngram_indices", Scale = "ngram_scale", Embedding = "embedding", Scores = "scores";

    /// <summary>Sigmoid(scale * sum of the features' rows + bias), one column per head.</summary>
    public static byte[] LinearHeads(IReadOnlyList<LinearHead> heads, IReadOnlyList<Platt> calibration)
    {
        int buckets = heads[0].Weights.Length, columns = heads.Count;
        var table = new float[buckets * columns];
        var bias = new float[columns];
        for (int head = 0; head < columns; head++)
        {
            var (a, b) = calibration[head];
            bias[head] = (float)((a * heads[head].Bias) + b);
            for (int bucket = 0; bucket < buckets; bucket++)
            {
                table[(bucket * columns) + head] = (float)(a * heads[head].Weights[bucket]);
            }
        }

        var model = new OnnxModel("text_safety");
        string indices = model.Int32Input(Indices, "N", "L"), scale = model.FloatInput(Scale, "N", 1);
        string rows = model.Node("Gather", "rows", [model.Constant("table", table, buckets, columns), indices], ("axis", 0));
        string sums = model.Node("ReduceSum", "sums", [rows, model.Constant("over_features", [1L], 1)], ("keepdims", 0));
        string scaled = model.Node("Mul", "scaled", [sums, scale]);
        string margins = model.Node("Add", "margins", [scaled, model.Constant("bias", bias, columns)]);
        model.Node("Sigmoid", model.FloatOutput(Scores, "N", columns), [margins]);
        return model.ToArray();
    }

    /// <summary>Sum of the features' int8 rows, widened by one factor per column, brought to length 1; a text without features gives zeros.</summary>
    public static byte[] Encoder(sbyte[] table, float[] columnScale)
    {
        int width = columnScale.Length;
        var model = new OnnxModel("text_encoder");
        string indices = model.Int32Input(Indices, "N", "L");
        string rows = model.Node("Gather", "rows", [model.Constant("table", table, table.Length / width, width), indices], ("axis", 0));
        string wide = model.Node("Cast", "wide", [rows], ("to", 1));
        string sums = model.Node("ReduceSum", "sums", [wide, model.Constant("over_features", [1L], 1)], ("keepdims", 0));
        string scaled = model.Node("Mul", "scaled", [sums, model.Constant("column_scale", columnScale, width)]);
        string squares = model.Node("Mul", "squares", [scaled, scaled]);
        string sum = model.Node("ReduceSum", "square_sum", [squares, "over_features"], ("keepdims", 1));
        string length = model.Node("Sqrt", "length", [sum]);
        string divisor = model.Node("Max", "divisor", [length, model.Constant("tiny", [1e-12f], 1)]);
        model.Node("Div", model.FloatOutput(Embedding, "N", width), [scaled, divisor]);
        return model.ToArray();
    }

    /// <summary>One small network per head over the same embedding, joined into one output.</summary>
    public static byte[] MlpHeads(IReadOnlyList<Mlp> heads, IReadOnlyList<Platt> calibration)
    {
        var model = new OnnxModel("embedding_safety");
        string embedding = model.FloatInput(Embedding, "N", heads[0].Layers[0].Inputs);
        var outputs = new string[heads.Count];
        for (int head = 0; head < heads.Count; head++)
        {
            string x = embedding;
            for (int layer = 0; layer < heads[head].Layers.Length; layer++)
            {
                var (weights, bias, inputs, width) = heads[head].Layers[layer];
                bool last = layer == heads[head].Layers.Length - 1;
                if (last)
                {
                    var (a, b) = calibration[head];
                    weights = [.. weights.Select(w => (float)(a * w))];
                    bias = [.. bias.Select(v => (float)((a * v) + b))];
                }

                string id = string.Create(CultureInfo.InvariantCulture, $"{head}_{layer}");
                x = model.Node("Gemm", "linear" + id, [x, model.Constant("w" + id, weights, width, inputs), model.Constant("b" + id, bias, width)], ("transB", 1));
                x = last ? x : model.Node("Relu", "relu" + id, [x]);
            }

            outputs[head] = x;
        }

        string margins = model.Node("Concat", "margins", outputs, ("axis", 1));
        model.Node("Sigmoid", model.FloatOutput(Scores, "N", heads.Count), [margins]);
        return model.ToArray();
    }
}
