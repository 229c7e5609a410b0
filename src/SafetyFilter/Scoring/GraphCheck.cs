using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

namespace SafetyFilter.Scoring;

/// <summary>Holds a graph's inputs and outputs against what the manifest says of them.</summary>
internal static class GraphCheck
{
    public static void Run(InferenceSession session, BundleManifest manifest, JsonFaults faults)
    {
        var unfed = new HashSet<string>(session.InputMetadata.Keys, StringComparer.Ordinal);
        for (var i = 0; i < manifest.Features.Length; i++)
        {
            var path = $"$.features[{i}]";
            switch (manifest.Features[i])
            {
                case TextFeatureSpec text:
                    unfed.Remove(text.IndicesInput);
                    unfed.Remove(text.ScaleInput);
                    Check(session.InputMetadata, text.IndicesInput, TensorElementType.Int32, [null], $"{path}.inputs.indices", "input", faults);
                    Check(session.InputMetadata, text.ScaleInput, TensorElementType.Float, [1], $"{path}.inputs.scale", "input", faults);
                    break;
                case TensorFeatureSpec tensor:
                    unfed.Remove(tensor.Input);
                    var row = tensor.Shape.Select(dimension => (int?)dimension).ToArray();
                    Check(session.InputMetadata, tensor.Input, TensorElementType.Float, row, $"{path}.input", "input", faults);
                    break;
            }
        }

        foreach (var name in unfed)
        {
            faults.Add("$.features", $"Graph input '{name}' is fed by no feature. Name it in a feature, or remove it from the graph.");
        }

        for (var i = 0; i < manifest.Outputs.Length; i++)
        {
            var (name, labels) = manifest.Outputs[i];
            var flat = labels.Length == 1 && session.OutputMetadata.TryGetValue(name, out var found) && found.IsTensor && found.Dimensions.Length == 1;
            Check(session.OutputMetadata, name, TensorElementType.Float, flat ? [] : [labels.Length], $"$.outputs[{i}].name", "output", faults);
        }
    }

    // row: what follows the candidate's dimension; null is any length. The graph may leave a length open: the warm-up then tells.
    private static void Check(
        IReadOnlyDictionary<string, NodeMetadata> nodes, string name, TensorElementType type, int?[] row, string path, string noun, JsonFaults faults)
    {
        if (!nodes.TryGetValue(name, out var node))
        {
            faults.Add(path, $"The graph has no {noun} '{name}', only {string.Join(", ", nodes.Keys.Select(key => $"'{key}'"))}. Use one of these.");
            return;
        }

        var expected = $"{type} [N{string.Concat(row.Select(length => $", {length?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "L"}"))}]";
        var remedy = $"Export the graph with {expected} there, or correct the manifest.";
        if (!node.IsTensor || node.ElementDataType != type)
        {
            faults.Add(path, $"Graph {noun} '{name}' is {(node.IsTensor ? node.ElementDataType : node.OnnxValueType)}. {remedy}");
            return;
        }

        var shape = node.Dimensions;
        var fits = shape.Length == row.Length + 1 && shape[0] < 0;
        for (var i = 0; fits && i < row.Length; i++)
        {
            fits = row[i] is { } length ? shape[i + 1] == length || shape[i + 1] < 0 : shape[i + 1] < 0;
        }

        if (!fits)
        {
            var shown = string.Join(", ", shape.Select(length => length < 0 ? "?" : length.ToString(System.Globalization.CultureInfo.InvariantCulture)));
            faults.Add(path, $"Graph {noun} '{name}' has shape [{shown}]. {remedy}");
        }
    }
}
