using System.Collections.Immutable;
using System.Runtime.InteropServices;
using System.Text;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring.Text;

namespace SafetyFilter.Scoring;

/// <summary>What <c>manifest.json</c> says of a bundle, validated. README.md in this folder is the reference of its fields.</summary>
internal sealed record BundleManifest
{
    public const string Schema = "safetyfilter.bundle/1";

    public required string Name { get; init; }
    public required string Version { get; init; }
    public required string Description { get; init; }
    public required string Owner { get; init; }

    /// <summary>Every file the bundle vouches for; at least <c>model.onnx</c> and <c>golden.json</c>.</summary>
    public required ImmutableArray<BundleFile> Files { get; init; }

    public required ImmutableArray<FeatureSpec> Features { get; init; }
    public required ImmutableArray<OutputSpec> Outputs { get; init; }

    /// <summary>In the order of <see cref="Outputs"/> and of the labels within each.</summary>
    public required ImmutableArray<ClassifierSpec> Classifiers { get; init; }

    /// <summary>What its scores may be used for; <c>*</c> is everything.</summary>
    public required ImmutableArray<string> Purposes { get; init; }

    /// <summary>The surfaces that may use it; <c>*</c> is all.</summary>
    public required ImmutableArray<string> Surfaces { get; init; }

    /// <summary>The last day (UTC) on which it may be loaded.</summary>
    public required DateOnly Expires { get; init; }

    public required TrainingSpec Training { get; init; }

    public bool Serves(string purpose, string surface) => Allows(Purposes, purpose) && Allows(Surfaces, surface);

    private static bool Allows(ImmutableArray<string> allowed, string value) => allowed.Contains("*") || allowed.Contains(value);
}

/// <summary>A file of the bundle and its SHA-256 (32 bytes).</summary>
internal sealed record BundleFile(string Name, ImmutableArray<byte> Sha256);

/// <summary>A feature of requests and the graph inputs that read it.</summary>
internal abstract record FeatureSpec(string Feature)
{
    public byte[] Utf8Feature { get; } = Encoding.UTF8.GetBytes(Feature);

    /// <summary>Why a request as a whole cannot be scored: it lacks the feature, or has it in another form. None when it can.</summary>
    public abstract FailureKind Refuses(CandidateBatch batch);

    /// <summary>What a request has to send, in words for its caller.</summary>
    public abstract string Describe();
}

/// <summary>A text, hashed into bucket indices [N, L] and a scale [N, 1].</summary>
internal sealed record TextFeatureSpec(string Feature, string IndicesInput, string ScaleInput, TextFeaturizerOptions Options)
    : FeatureSpec(Feature)
{
    public override FailureKind Refuses(CandidateBatch batch) =>
        batch.FindText(Utf8Feature) is { } column && column.Values.Count == batch.Count ? FailureKind.None : FailureKind.MissingFeature;

    public override string Describe() => $"texts['{Feature}']";
}

/// <summary>Numbers as they are: float32 [N, ...shape], each within [Min, Max].</summary>
internal sealed record TensorFeatureSpec(string Feature, string Input, ImmutableArray<long> Shape, float Min, float Max)
    : FeatureSpec(Feature)
{
    /// <summary>Numbers per candidate. Saturates: a manifest with a shape beyond all limits is refused, but must not throw before.</summary>
    public int RowLength { get; } =
        (int)Shape.Aggregate(1L, static (product, dimension) => Math.Min(product * Math.Clamp(dimension, 0, int.MaxValue), int.MaxValue));

    public override string Describe() => $"tensors['{Feature}'] of shape [candidates, {string.Join(", ", Shape)}] in FLOAT32 or FLOAT16";

    public override FailureKind Refuses(CandidateBatch batch)
    {
        if (batch.FindTensor(Utf8Feature) is not { } column)
        {
            return FailureKind.MissingFeature;
        }

        var elementBytes = column.DataType switch { DataType.Float32 => 4, DataType.Float16 => 2, _ => 0 };
        return elementBytes > 0
            && column.Data.Length == (long)batch.Count * RowLength * elementBytes
            && CollectionsMarshal.AsSpan(column.RowShape).SequenceEqual(Shape.AsSpan())
                ? FailureKind.None
                : FailureKind.FeatureMismatch;
    }
}

/// <summary>A graph output and the labels of its columns.</summary>
internal sealed record OutputSpec(string Name, ImmutableArray<string> Labels);

/// <summary>One label of a bundle.</summary>
/// <param name="MaxAction">The strongest action that rules may base on it.</param>
/// <param name="Thresholds">The score from which its owner recommends each action.</param>
/// <param name="Measured">Figures of the dev sets, as the trainer wrote them.</param>
internal sealed record ClassifierSpec(
    string Label,
    string Description,
    CandidateAction MaxAction,
    CalibrationSpec Calibration,
    ImmutableSortedDictionary<CandidateAction, double> Thresholds,
    ImmutableSortedDictionary<string, double> Measured);

/// <summary>How raw outputs became probabilities. Baked into the graph; kept here for people.</summary>
internal sealed record CalibrationSpec(string Method, ImmutableSortedDictionary<string, double> Parameters);

/// <summary>Where the model comes from.</summary>
internal sealed record TrainingSpec(string Command, long Seed, ImmutableArray<DatasetSpec> Datasets, string Limits);

/// <summary>A file that the model was trained on.</summary>
internal sealed record DatasetSpec(string File, string Sha256, ImmutableArray<string> Licences);
