using System.Collections.Immutable;
using System.Text;

namespace SafetyFilter.Decisions;

/// <summary>
/// What all decisions of one surface under one policy revision and one set of bundles have in common. Immutable;
/// strings are kept as UTF-8 because every answer and every record carries them.
/// </summary>
internal sealed class DecisionTerms(
    string surface,
    string policy,
    string policyRevision,
    string configRevision,
    string build,
    ImmutableArray<BundleSlot> bundles,
    ImmutableArray<ClassifierSlot> classifiers,
    ImmutableArray<RuleTerms> rules,
    ImmutableArray<RuleTerms> shadowRules,
    ImmutableArray<string> attributes,
    bool readsLanguage,
    RecordTerms? record = null,
    ImmutableArray<string> textFeatures = default,
    ImmutableArray<string> tensorFeatures = default,
    int allDownRule = 0,
    bool usesVerdictCache = false)
{
    public string Surface { get; } = surface;
    public string PolicyName { get; } = policy;
    public byte[] Policy { get; } = Encoding.UTF8.GetBytes(policy);
    public byte[] PolicyRevision { get; } = Encoding.UTF8.GetBytes(policyRevision);
    public byte[] ConfigRevision { get; } = Encoding.UTF8.GetBytes(configRevision);
    public string ConfigRevisionText { get; } = configRevision;
    public string BuildText { get; } = build;
    public byte[] Build { get; } = Encoding.UTF8.GetBytes(build);
    public ImmutableArray<BundleSlot> Bundles { get; } = bundles;
    public ImmutableArray<ClassifierSlot> Classifiers { get; } = classifiers;

    /// <summary>Index 0 is the default, "no rule matched".</summary>
    public ImmutableArray<RuleTerms> Rules { get; } = rules;

    public ImmutableArray<RuleTerms> ShadowRules { get; } = shadowRules;

    /// <summary>The rule that decides when every classifier is down, in <see cref="Rules"/>; 0 when none does.</summary>
    public int AllDownRule { get; } = allDownRule;

    /// <summary>Whether remembered scores stand for runs.</summary>
    public bool UsesVerdictCache { get; } = usesVerdictCache;

    /// <summary>Names of the attributes that the rules read: the record keeps those.</summary>
    public ImmutableArray<byte[]> Attributes { get; } = [.. attributes.Select(Encoding.UTF8.GetBytes)];

    public bool ReadsLanguage { get; } = readsLanguage;

    /// <summary>What the surface's policy wants of its records.</summary>
    public RecordTerms Record { get; } = record ?? RecordTerms.Default;

    /// <summary>The same, worked out for whoever writes records.</summary>
    public RecordPlan RecordPlan { get; } = new(
        record ?? RecordTerms.Default, attributes, textFeatures.IsDefault ? [] : textFeatures, tensorFeatures.IsDefault ? [] : tensorFeatures);
}

/// <summary>A bundle that a surface's policy calls for.</summary>
internal sealed class BundleSlot(string name, string version, ReadOnlyMemory<byte> modelSha256)
{
    public string NameText { get; } = name;
    public byte[] Name { get; } = Encoding.UTF8.GetBytes(name);
    public byte[] Version { get; } = Encoding.UTF8.GetBytes(version);
    public ReadOnlyMemory<byte> ModelSha256 { get; } = modelSha256;
}

/// <summary>A classifier that a surface's policy reads, and what happens when it gives no score.</summary>
/// <param name="missingMode">Null: the same as <paramref name="failMode"/>.</param>
internal sealed class ClassifierSlot(string name, int bundle, FailMode failMode, FailMode? missingMode = null)
{
    public string NameText { get; } = name;
    public byte[] Name { get; } = Encoding.UTF8.GetBytes(name);

    /// <summary>Index into <see cref="DecisionTerms.Bundles"/>.</summary>
    public int Bundle { get; } = bundle;

    /// <summary>What the policy says.</summary>
    public FailMode FailMode { get; } = failMode;

    /// <summary>What holds where there is no score and none is remembered: closed or open.</summary>
    public FailMode MissingMode { get; } = missingMode ?? failMode;
}

/// <summary>A rule as answers and records tell it. A <paramref name="severity"/> of 0: the rule has none, as the default.</summary>
internal sealed class RuleTerms(
    string id, CandidateAction action, string reasonCode, Severity severity, float demoteFactor, string label, int minimumAge)
{
    public byte[] Id { get; } = Encoding.UTF8.GetBytes(id);
    public CandidateAction Action { get; } = action;
    public byte[] ReasonCode { get; } = Encoding.UTF8.GetBytes(reasonCode);
    public Severity Severity { get; } = severity;

    /// <summary>In (0, 1) for <see cref="CandidateAction.Demote"/>, else 0.</summary>
    public float DemoteFactor { get; } = demoteFactor;

    public byte[] Label { get; } = Encoding.UTF8.GetBytes(label);

    /// <summary>Years, for <see cref="CandidateAction.AgeRestrict"/>, else 0.</summary>
    public int MinimumAge { get; } = minimumAge;
}
