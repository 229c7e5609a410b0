using System.Collections.Immutable;
using System.Text;

namespace SafetyFilter.Scoring;

/// <summary>One reason why a bundle was refused, in words for whoever has to mend it.</summary>
/// <param name="Bundle">The bundle's folder as <c>name/version</c>.</param>
/// <param name="File">The file in it, or empty for the folder itself.</param>
/// <param name="Path">Where in the file, e.g. <c>$.outputs[0].name</c>; empty for the whole file.</param>
/// <param name="Problem">The value found, what is wrong with it, and the remedy.</param>
/// <param name="Owner">Who answers for the bundle, when the manifest could say so.</param>
internal sealed record BundleError(string Bundle, string File, string Path, string Problem, string Owner = "")
{
    public override string ToString()
    {
        var text = new StringBuilder($"Bundle '{Bundle}'");
        if (File.Length > 0)
        {
            text.Append(", ").Append(File);
        }

        if (Path.Length > 0)
        {
            text.Append(" at ").Append(Path);
        }

        // One line each, whatever the message that is quoted in it.
        text.Append(": ").Append(Problem.ReplaceLineEndings(" "));
        return Owner.Length > 0 ? text.Append(" Owner: ").Append(Owner).Append('.').ToString() : text.ToString();
    }
}

/// <summary>What loading gave: a value, or every error at once.</summary>
internal sealed record LoadResult<T>(T? Value, ImmutableArray<BundleError> Errors)
    where T : class
{
    /// <summary>All errors, one per line; empty when it loaded.</summary>
    public string Report => string.Join(Environment.NewLine, Errors);
}

/// <summary>What a bundle may at most ask of the process that loads it.</summary>
internal sealed record BundleLimits
{
    public static BundleLimits Default { get; } = new();

    /// <summary>256 MiB: several times the reference models; a model is held in memory twice while it loads.</summary>
    public long MaxModelBytes { get; init; } = 256L << 20;

    /// <summary>Any other listed file, which is read only to be hashed. 256 MiB.</summary>
    public long MaxFileBytes { get; init; } = 256L << 20;

    /// <summary>manifest.json and golden.json, each 4 MiB.</summary>
    public long MaxJsonBytes { get; init; } = 4L << 20;

    /// <summary>Operator domains allowed beside <c>ai.onnx</c> and <c>ai.onnx.ml</c>, e.g. <c>com.microsoft</c>. None by default.</summary>
    public ImmutableArray<string> ExtraDomains { get; init; } = [];
}
