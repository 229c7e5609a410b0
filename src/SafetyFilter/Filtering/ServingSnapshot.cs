using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Text;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;

namespace SafetyFilter.Filtering;

/// <summary>Everything that decides: one policy snapshot bound to one set of bundles. Immutable.</summary>
internal sealed class ServingSnapshot
{
    private readonly FrozenDictionary<string, SurfacePlan> _plans;
    private readonly FrozenDictionary<string, SurfacePlan>.AlternateLookup<ReadOnlySpan<char>> _bySpan;
    private readonly int _longestSurface;

    private ServingSnapshot(FrozenDictionary<string, SurfacePlan> plans)
    {
        _plans = plans;
        _bySpan = plans.GetAlternateLookup<ReadOnlySpan<char>>();
        _longestSurface = plans.Keys.Max(static surface => Encoding.UTF8.GetByteCount(surface));
    }

    public IEnumerable<SurfacePlan> Plans => _plans.Values;

    /// <summary>The surfaces served, in order, for messages to callers.</summary>
    public string Surfaces => string.Join(", ", _plans.Keys.Order(StringComparer.Ordinal));

    /// <summary>Binds policies to bundles. Every classifier that a policy reads must exist: the policy compiler has seen to that.</summary>
    public static ServingSnapshot Bind(
        PolicySnapshot policies, IReadOnlyDictionary<string, GuardedBundle> bundles, string configRevision, string build)
    {
        var plans = policies.Surfaces.ToFrozenDictionary(
            static policy => policy.Surface,
            policy => Bind(policy, bundles, configRevision, build),
            StringComparer.Ordinal);
        return new ServingSnapshot(plans);
    }

    /// <summary>The plan of a surface, by its UTF-8 name. Allocates nothing.</summary>
    public bool TryGetPlan(ReadOnlySpan<byte> surface, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out SurfacePlan? plan)
    {
        plan = null;
        if (surface.Length > _longestSurface)
        {
            return false;
        }

        Span<char> name = stackalloc char[surface.Length];
        return Encoding.UTF8.TryGetChars(surface, name, out var length) && _bySpan.TryGetValue(name[..length], out plan);
    }

    private static SurfacePlan Bind(
        SurfacePolicy policy, IReadOnlyDictionary<string, GuardedBundle> bundles, string configRevision, string build)
    {
        var order = new List<GuardedBundle>();
        var classifiers = ImmutableArray.CreateBuilder<ClassifierSlot>(policy.Classifiers.Length);
        foreach (var classifier in policy.Classifiers)
        {
            var bundle = bundles[classifier.Name[..classifier.Name.IndexOf('/')]];
            var index = order.IndexOf(bundle);
            if (index < 0)
            {
                index = order.Count;
                order.Add(bundle);
            }

            classifiers.Add(new ClassifierSlot(classifier.Name, index, classifier.FailMode));
        }

        var terms = new DecisionTerms(
            policy.Surface,
            policy.Name,
            policy.Revision,
            configRevision,
            build,
            [.. order.Select(static guarded => new BundleSlot(guarded.Bundle.Name, guarded.Bundle.Version, guarded.Bundle.ModelSha256))],
            classifiers.MoveToImmutable(),
            policy.Rules,
            policy.ShadowRules,
            policy.AttributeNames,
            policy.ReadsLanguage);
        return new SurfacePlan(policy, terms, [.. order.Select(bundle => new BundleStep(bundle, RowsOf(bundle.Bundle, policy)))]);
    }

    private static int[] RowsOf(ModelBundle bundle, SurfacePolicy policy)
    {
        var rows = new int[bundle.Classifiers.Length];
        for (var output = 0; output < rows.Length; output++)
        {
            rows[output] = -1;
            for (var row = 0; row < policy.Classifiers.Length; row++)
            {
                if (policy.Classifiers[row].Name == bundle.Classifiers[output])
                {
                    rows[output] = row;
                }
            }
        }

        return rows;
    }
}
