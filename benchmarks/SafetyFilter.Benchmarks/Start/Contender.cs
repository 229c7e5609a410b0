using System.Diagnostics.CodeAnalysis;

namespace SafetyFilter.Benchmarks.Start;

/// <summary>An executable of the sidecar under a name for the tables.</summary>
/// <param name="Variables">Of its environment, beside the settings that all of them get.</param>
internal sealed record Contender(string Name, string Program, IReadOnlyDictionary<string, string> Variables)
{
    /// <summary>The one that the build puts beside this program. All ratios are to it.</summary>
    public static Contender Jit { get; } = new(
        "jit", Path.Combine(AppContext.BaseDirectory, "SafetyFilter.Sidecar"), new Dictionary<string, string>(StringComparer.Ordinal));

    /// <summary>NAME=FILE[,VARIABLE=VALUE...]</summary>
    public static Contender? Parse(string text, [NotNullWhen(false)] out string? error)
    {
        var parts = text.Split(',');
        var pairs = parts.Select(static part => part.Split('=', 2)).ToArray();
        error = Array.Exists(pairs, static pair => pair.Length != 2 || pair[0].Length == 0)
            ? $"--sidecar '{text}' is not NAME=FILE[,VARIABLE=VALUE...]."
            : !File.Exists(pairs[0][1])
            ? $"--sidecar '{text}': there is no file '{pairs[0][1]}'. deploy/README.md says how to publish a native executable."
            : null;
        return error is null
            ? new Contender(pairs[0][0], Path.GetFullPath(pairs[0][1]), pairs.Skip(1).ToDictionary(static pair => pair[0], static pair => pair[1], StringComparer.Ordinal))
            : null;
    }
}
