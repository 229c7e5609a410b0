using System.Collections.Immutable;
using System.Text;
using SafetyFilter.Decisions;
using SafetyFilter.Policy;

namespace SafetyFilter.Audit;

/// <summary>A policy revision as auditors need it: ready to decide again, and with its conditions to explain. Immutable.</summary>
internal sealed class ArchivedPolicy
{
    private readonly ImmutableArray<byte[]> _attributePaths;
    private readonly ImmutableArray<byte[]> _viewerPaths;

    private ArchivedPolicy(PolicyDefinition definition, PolicyConfig config)
    {
        // Any surface will do: what a policy decides does not depend on the one it is asked for.
        Policy = new SurfacePolicy(definition.Surfaces[0], definition);
        Surfaces = [.. definition.Surfaces.Select(Encoding.UTF8.GetBytes)];
        ClassifierNames = [.. definition.Classifiers.Select(static one => Encoding.UTF8.GetBytes(one.Name))];
        Rules = [.. definition.Rules.Select(TermsOf)];
        ShadowRules = [.. definition.ShadowRules.Select(TermsOf)];
        Conditions = config.Rules.ToDictionary(static rule => rule.Id.Value, static rule => rule.When, StringComparer.Ordinal);
        FirstExpiry = definition.Rules.Min(static rule => rule.Expires);
        _attributePaths = [.. definition.Attributes.Select(static one => Encoding.UTF8.GetBytes(RecordPaths.AttributePrefix + one.Name))];
        _viewerPaths = [.. config.Rules
            .SelectMany(static rule => PolicyCompiler.Leaves(rule.When))
            .OfType<ViewerConfig>()
            .Select(static leaf => leaf.Field)
            .Distinct()
            .Select(PathOf)];
    }

    public SurfacePolicy Policy { get; }

    public ImmutableArray<byte[]> Surfaces { get; }

    public ImmutableArray<byte[]> ClassifierNames { get; }

    /// <summary>Its rules as records tell them; entry 0 is the default.</summary>
    public ImmutableArray<RuleTerms> Rules { get; }

    public ImmutableArray<RuleTerms> ShadowRules { get; }

    /// <summary>What each rule demands, by its id.</summary>
    public IReadOnlyDictionary<string, ConditionConfig> Conditions { get; }

    /// <summary>When the first of its rules expires, Unix milliseconds; <see cref="long.MaxValue"/> when none does.</summary>
    public long FirstExpiry { get; }

    /// <summary>The policies of a text. A text that does not compile has none.</summary>
    public static (IReadOnlyList<ArchivedPolicy> Policies, IReadOnlyList<PolicyError> Errors) Read(PolicySource source)
    {
        var (snapshot, errors) = PolicyCompiler.Compile([source], known: null);
        if (snapshot is null)
        {
            return ([], errors);
        }

        var configs = PolicyParser.Parse(source).Policies.ToDictionary(static config => config.Name.Value, StringComparer.Ordinal);
        return ([.. snapshot.Policies.Select(policy => new ArchivedPolicy(policy, configs[policy.Name]))], []);
    }

    public bool NamesSurface(ReadOnlySpan<byte> surface) => IndexOf(Surfaces, surface) >= 0;

    /// <summary>The place of a rule in <see cref="Rules"/>, or -1.</summary>
    public static int IndexOf(ImmutableArray<RuleTerms> rules, ReadOnlySpan<byte> id)
    {
        for (var i = 0; i < rules.Length; i++)
        {
            if (id.SequenceEqual(rules[i].Id))
            {
                return i;
            }
        }

        return -1;
    }

    private static int IndexOf(ImmutableArray<byte[]> names, ReadOnlySpan<byte> name)
    {
        for (var i = 0; i < names.Length; i++)
        {
            if (name.SequenceEqual(names[i]))
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>What a rule reads and the record does not tell, as a path; null when it tells everything.</summary>
    public string? Withheld(RecordedDecision record)
    {
        if (record.Masked.Count == 0 && record.SealedPaths.Count == 0)
        {
            return null;
        }

        return First(_attributePaths, record) ?? First(_viewerPaths, record)
            ?? (Policy.ReadsLanguage && record.Withholds("languages"u8) ? "languages" : null);
    }

    private static RuleTerms TermsOf(RuleInfo rule) => new(
        rule.Id, rule.Action, rule.ReasonCode, rule.Severity, rule.DemoteFactor, rule.Label, rule.MinimumAge);

    private static string? First(ImmutableArray<byte[]> paths, RecordedDecision record)
    {
        foreach (var path in paths)
        {
            if (record.Withholds(path))
            {
                return Encoding.UTF8.GetString(path);
            }
        }

        return null;
    }

    private static byte[] PathOf(ViewerField field) => field switch
    {
        ViewerField.Territory => "viewer.territory"u8.ToArray(),
        ViewerField.AgeBand => "viewer.age_band"u8.ToArray(),
        _ => "viewer.experiment"u8.ToArray(),
    };
}
