using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace SafetyFilter.Policy;

/// <summary>All policies of a folder, compiled. Immutable: a request takes one and uses it to its end.</summary>
internal sealed class PolicySnapshot
{
    private readonly FrozenDictionary<byte[], SurfacePolicy>.AlternateLookup<ReadOnlySpan<byte>> _bySurface;

    public PolicySnapshot(ImmutableArray<PolicyDefinition> policies)
    {
        Policies = [.. policies.OrderBy(policy => policy.Name, StringComparer.Ordinal)];
        Surfaces = [.. policies
            .SelectMany(policy => policy.Surfaces, (policy, surface) => new SurfacePolicy(surface, policy))
            .OrderBy(policy => policy.Surface, StringComparer.Ordinal)];
        _bySurface = Surfaces
            .ToFrozenDictionary(policy => Encoding.UTF8.GetBytes(policy.Surface), Utf8Comparer.Instance)
            .GetAlternateLookup<ReadOnlySpan<byte>>();
        Revision = PolicyCanonical.Digest(string.Concat(Policies.Select(policy => policy.Revision + "\n")));
    }

    /// <summary>In the order of their names.</summary>
    public ImmutableArray<PolicyDefinition> Policies { get; }

    /// <summary>In the order of their names.</summary>
    public ImmutableArray<SurfacePolicy> Surfaces { get; }

    /// <summary>SHA-256 over the revisions of <see cref="Policies"/>, each followed by a line feed.</summary>
    public string Revision { get; }

    public bool TryGetSurface(ReadOnlySpan<byte> utf8, [MaybeNullWhen(false)] out SurfacePolicy policy) => _bySurface.TryGetValue(utf8, out policy);
}
