using System.Collections.Immutable;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>The features that a request carries for each candidate.</summary>
[Flags]
internal enum Features
{
    None = 0,

    /// <summary>One embedding of 128 float32.</summary>
    Embedding = 1,

    /// <summary>One embedding of 128 float16, which the sidecar widens.</summary>
    HalfEmbedding = 2,

    /// <summary>One caption of about 60 characters.</summary>
    Caption = 4,
}

/// <summary>What is asked of a server. The set is fixed: figures of different builds are of the same work.</summary>
internal sealed record Workload(string Name, int Candidates, Features Features)
{
    /// <summary>One stream of requests per caller instead of a call per request.</summary>
    public bool Streams { get; init; }

    /// <summary>Candidates by popularity, with content versions, so that the same content comes again and again; otherwise each item is as likely.</summary>
    public bool Repeats { get; init; }

    /// <summary>Another workload that the same run measures too, because a goal compares the two.</summary>
    public string? ComparedWith { get; init; }

    /// <summary>The policies under which the sidecar serves it, each by a sidecar of its own.</summary>
    public ImmutableArray<PolicyVariant> Policies { get; init; } = [PolicyVariant.Plain];

    public static ImmutableArray<Workload> All { get; } =
    [
        new("E256", 256, Features.Embedding),
        new("E16", 16, Features.Embedding),
        new("E64", 64, Features.Embedding),
        new("E500", 500, Features.Embedding),
        new("E256h", 256, Features.HalfEmbedding),
        new("T64", 64, Features.Caption) { ComparedWith = "E64" },
        new("T256", 256, Features.Caption),
        new("M128", 128, Features.Embedding | Features.Caption) { Streams = true },
        new("Z", 256, Features.Embedding) { Repeats = true, Policies = PolicyVariant.OfRepeats },
    ];

    public bool HasEmbedding => (Features & (Features.Embedding | Features.HalfEmbedding)) != Features.None;

    public bool HasCaption => (Features & Features.Caption) != Features.None;

    public string Surface => this switch
    {
        { HasEmbedding: true, HasCaption: true } => BenchmarkPolicies.Mixed,
        { HasCaption: true } => BenchmarkPolicies.Captions,
        _ => BenchmarkPolicies.Embeddings,
    };

    /// <summary>Bundles that score it, by name.</summary>
    public ImmutableArray<string> Bundles =>
    [
        .. HasEmbedding ? [BenchmarkPolicies.EmbeddingBundle] : Array.Empty<string>(),
        .. HasCaption ? [BenchmarkPolicies.TextBundle] : Array.Empty<string>(),
    ];

    /// <summary>The workload of that name, in whatever case.</summary>
    public static Workload? Named(string name) => All.FirstOrDefault(workload => workload.Name.Equals(name, StringComparison.OrdinalIgnoreCase));

    /// <summary>Reads names with commas between them; all workloads when there is nothing. Each once, in the order of the list.</summary>
    /// <param name="error">What is wrong with it, or null.</param>
    public static ImmutableArray<Workload> Parse(string? list, out string? error)
    {
        error = null;
        if (list is null)
        {
            return All;
        }

        var found = ImmutableArray.CreateBuilder<Workload>();
        foreach (var name in list.Split(',', StringSplitOptions.TrimEntries))
        {
            if (Named(name) is not { } workload)
            {
                error = $"--workload '{name}' is not known. Use {string.Join(", ", All.Select(each => each.Name))}, with commas between several.";
                return [];
            }

            if (!found.Contains(workload))
            {
                found.Add(workload);
            }
        }

        return found.ToImmutable();
    }
}

/// <summary>A way to serve a workload: further lines of the surface's policy.</summary>
/// <param name="Name">Empty for the plain one.</param>
/// <param name="Yaml">Lines on a policy's top level; empty for none.</param>
internal sealed record PolicyVariant(string Name, string Yaml)
{
    public static PolicyVariant Plain { get; } = new("", "");

    /// <summary>Those of Z: without the verdict cache and with it.</summary>
    public static ImmutableArray<PolicyVariant> OfRepeats { get; } = [Plain, new("cache", "verdict_cache: on")];
}
