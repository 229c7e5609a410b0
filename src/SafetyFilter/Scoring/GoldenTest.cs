using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using SafetyFilter.Decisions;

namespace SafetyFilter.Scoring;

/// <summary>
/// The bundle's own examples with the scores its trainer saw. Run at load, it proves that featurizer, model and runtime are together
/// what was trained, and at several batch sizes also that a score does not depend on its neighbours; and it warms the model up.
/// </summary>
internal sealed class GoldenTest
{
    // Up to what rankers send at once; the first request of any size should find buffers and code paths in place.
    private static readonly int[] WarmUpSizes = [1, 16, 64, 256];

    private readonly BundleManifest _manifest;
    private readonly Dictionary<string, object>[] _candidates;
    private readonly double?[][] _expected;

    private GoldenTest(BundleManifest manifest, double tolerance, Dictionary<string, object>[] candidates, double?[][] expected)
    {
        _manifest = manifest;
        Tolerance = tolerance;
        _candidates = candidates;
        _expected = expected;
    }

    /// <summary>How far scores may lie from the expected ones, 0 to 0.01.</summary>
    public double Tolerance { get; }

    /// <summary>Reads <c>golden.json</c>; null when it was found faulty.</summary>
    public static GoldenTest? Read(ReadOnlyMemory<byte> utf8, BundleManifest manifest, JsonFaults faults)
    {
        if (ManifestReader.Parse(utf8, faults) is not { } document)
        {
            return null;
        }

        using (document)
        {
            var root = new JsonField(document.RootElement, "$", faults);
            var tolerance = root["tolerance"].Number(0, 0.01, "Use 0.0001 unless the model needs more.");
            var candidates = root["candidates"].Items("List a few invented candidates.").Select(ReadCandidate).ToArray();
            if (candidates.Length == 0)
            {
                root["candidates"].Report("is empty.", "List a few invented candidates.");
                return null;
            }

            for (var i = 0; i < candidates.Length; i++)
            {
                CheckKinds(candidates[i], manifest, $"$.candidates[{i}]", faults);
            }

            var expected = manifest.Classifiers.Select(classifier => ReadScores(root["expected"][classifier.Label], candidates.Length)).ToArray();
            return new GoldenTest(manifest, tolerance, candidates, expected);
        }
    }

    /// <summary>Scores the examples at all sizes and reports what differs.</summary>
    public void Run(ModelBundle bundle, JsonFaults faults)
    {
        if (!Run(bundle, _candidates.Length, faults))
        {
            return;
        }

        foreach (var size in WarmUpSizes)
        {
            if (!Run(bundle, size, faults))
            {
                return;
            }
        }
    }

    private bool Run(ModelBundle bundle, int count, JsonFaults faults)
    {
        var table = new ScoreTable();
        table.Reset(bundle.Classifiers.Length, count);
        var slots = Enumerable.Range(0, bundle.Classifiers.Length).ToArray();
        var outcome = bundle.Score(Batch(count), table, slots);
        if (outcome.Failure != FailureKind.None)
        {
            faults.Add("", $"Scoring {count} golden candidates fails as {outcome.Failure}: {outcome.Error?.Message.Trim() ?? "a feature does not fit."} "
                + "Correct the model or the manifest's features.");
            return false;
        }

        var good = true;
        for (var classifier = 0; classifier < slots.Length; classifier++)
        {
            for (var row = 0; row < count; row++)
            {
                var candidate = row % _candidates.Length;
                if (Difference(_expected[classifier][candidate], table.Row(classifier)[row], table.Failures(classifier)[row]) is { } difference)
                {
                    good = false;
                    faults.Add($"$.expected.{_manifest.Classifiers[classifier].Label}[{candidate}]",
                        $"In a batch of {count}, candidate {candidate} ({Describe(candidate)}) {difference} "
                        + "Model, featurizer or golden scores are not of one training: release them together.");

                    // One is enough for a classifier: the others differ for the same reason.
                    break;
                }
            }
        }

        return good;
    }

    private string? Difference(double? expected, float score, FailureKind failure)
    {
        var got = failure == FailureKind.None ? score.ToString("R", CultureInfo.InvariantCulture) : $"no score ({failure})";
        if (expected is not { } number)
        {
            return failure == FailureKind.None ? $"scores {got}, expected no score." : null;
        }

        // NaN differs from everything.
        return Math.Abs(score - number) <= Tolerance
            ? null
            : string.Create(CultureInfo.InvariantCulture, $"scores {got}, expected {number:R} within {Tolerance:R}.");
    }

    // The examples, again and again until there are enough.
    private CandidateBatch Batch(int count)
    {
        var batch = new CandidateBatch();
        var bytes = new ArrayBufferWriter<byte>();
        for (var row = 0; row < count; row++)
        {
            batch.Ids.Add(Append(bytes, Encoding.UTF8.GetBytes(row.ToString(CultureInfo.InvariantCulture))));
        }

        foreach (var feature in _manifest.Features.DistinctBy(feature => (feature.Feature, feature.GetType())))
        {
            var name = Append(bytes, Encoding.UTF8.GetBytes(feature.Feature));
            if (feature is TensorFeatureSpec tensor)
            {
                AddTensor(batch, name, tensor, bytes);
            }
            else
            {
                AddText(batch, name, feature.Feature, bytes);
            }
        }

        batch.Buffer = bytes.WrittenSpan.ToArray();
        return batch;
    }

    private void AddText(CandidateBatch batch, ByteSlice name, string feature, ArrayBufferWriter<byte> bytes)
    {
        var column = batch.AddText();
        column.Name = name;
        for (var row = 0; row < batch.Count; row++)
        {
            var text = _candidates[row % _candidates.Length].GetValueOrDefault(feature) as string;
            column.Values.Add(Append(bytes, Encoding.UTF8.GetBytes(text ?? "")));
            if (text is null)
            {
                column.Missing.Add(row);
            }
        }
    }

    private void AddTensor(CandidateBatch batch, ByteSlice name, TensorFeatureSpec feature, ArrayBufferWriter<byte> bytes)
    {
        var column = batch.AddTensor();
        column.Name = name;
        column.DataType = DataType.Float32;
        column.RowShape.AddRange(feature.Shape);
        column.RowLength = feature.RowLength;
        var start = bytes.WrittenCount;
        var none = new float[column.RowLength];
        for (var row = 0; row < batch.Count; row++)
        {
            if (_candidates[row % _candidates.Length].GetValueOrDefault(feature.Feature) is not float[] numbers)
            {
                numbers = none;
                column.Missing.Add(row);
            }

            Append(bytes, MemoryMarshal.AsBytes<float>(numbers));
        }

        column.Data = new ByteSlice(start, bytes.WrittenCount - start);
    }

    private string Describe(int candidate) =>
        string.Join(", ", _candidates[candidate].Select(member => member.Value is string text ? $"{member.Key} '{text}'" : member.Key));

    private static ByteSlice Append(ArrayBufferWriter<byte> bytes, ReadOnlySpan<byte> value)
    {
        var start = bytes.WrittenCount;
        bytes.Write(value);
        return new ByteSlice(start, value.Length);
    }

    private static Dictionary<string, object> ReadCandidate(JsonField field)
    {
        const string Remedy = "Give features by name: a text, or a row of numbers.";
        var features = new Dictionary<string, object>(StringComparer.Ordinal);
        foreach (var (name, value) in field.Members(Remedy))
        {
            if (value.Kind == JsonValueKind.String)
            {
                features[name] = value.Element.GetString()!;
            }
            else
            {
                features[name] = value.Items(Remedy).Select(number => (float)number.Number(float.MinValue, float.MaxValue, Remedy)).ToArray();
            }
        }

        return features;
    }

    private static void CheckKinds(Dictionary<string, object> candidate, BundleManifest manifest, string path, JsonFaults faults)
    {
        foreach (var feature in manifest.Features)
        {
            if (feature is TensorFeatureSpec tensor && candidate.GetValueOrDefault(feature.Feature) is var numbers and not null
                && (numbers as float[])?.Length != tensor.RowLength)
            {
                faults.Add($"{path}.{feature.Feature}", $"is not the {tensor.RowLength} numbers that the manifest asks for. Correct the row.");
            }
        }
    }

    private static double?[] ReadScores(JsonField field, int count)
    {
        const string Remedy = "Give one score per candidate, null where there must be none.";
        var scores = field.Items(Remedy).Select(score => score.Kind == JsonValueKind.Null ? (double?)null : score.Number(0, 1, Remedy)).ToArray();
        if (field.Kind == JsonValueKind.Array && scores.Length != count)
        {
            field.Report($"has {scores.Length} scores for {count} candidates.", Remedy);
        }

        return scores;
    }
}
