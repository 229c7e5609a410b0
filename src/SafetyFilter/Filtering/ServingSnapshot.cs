using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using System.Text;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;

namespace SafetyFilter.Filtering;

/// <summary>Everything that decides: one policy snapshot bound to one set of bundles. Immutable.</summary>
internal sealed class ServingSnapshot
{
    private readonly FrozenDictionary<byte[], SurfacePlan> _plans;
    private readonly FrozenDictionary<byte[], SurfacePlan>.AlternateLookup<ReadOnlySpan<byte>> _bySurface;

    private ServingSnapshot(FrozenDictionary<byte[], SurfacePlan> plans)
    {
        _plans = plans;
        _bySurface = plans.GetAlternateLookup<ReadOnlySpan<byte>>();
        AnyServesWhenShed = plans.Values.Any(static plan => plan.Policy.ServesWhenShed);
    }

    /// <summary>Whether any surface is served by fail mode under overload.</summary>
    public bool AnyServesWhenShed { get; }

    /// <summary>Whether a surface has a classifier that blocks whatever it has no score for.</summary>
    public bool HasHard => Plans.Any(static plan => plan.HasHard);

    /// <summary>Whether no classifier of any surface can be called now. Not for requests: it looks at every breaker.</summary>
    public bool IsDown => Plans.All(static plan => plan.IsDown);

    public IEnumerable<SurfacePlan> Plans => _plans.Values;

    /// <summary>What it is bound to, to be committed when it begins to serve; null when it never serves.</summary>
    public BreakerSet? Breakers { get; private init; }

    /// <summary>The surfaces served, in order, for messages to callers.</summary>
    public string Surfaces => string.Join(", ", _plans.Values.Select(static plan => plan.Terms.Surface).Order(StringComparer.Ordinal));

    /// <summary>Binds policies to bundles. Every classifier that a policy reads must exist: the policy compiler has seen to that.</summary>
    /// <param name="maxBudgetMicros">The most engine time of any request, whatever its policy says.</param>
    /// <param name="splitAbove">Candidates above which a bundle's run is split; 0: never.</param>
    public static ServingSnapshot Bind(
        PolicySnapshot policies, BreakerSet breakers, string configRevision, string build, uint maxBudgetMicros = uint.MaxValue, int splitAbove = 0) =>
        new(Plan(policies, breakers.Guarded, configRevision, build, maxBudgetMicros, splitAbove)) { Breakers = breakers };

    /// <summary>The same with one breaker for a bundle, whatever the groups.</summary>
    public static ServingSnapshot Bind(
        PolicySnapshot policies, IReadOnlyDictionary<string, GuardedBundle> bundles, string configRevision, string build, uint maxBudgetMicros = uint.MaxValue, int splitAbove = 0) =>
        new(Plan(policies, (bundle, _) => bundles[bundle], configRevision, build, maxBudgetMicros, splitAbove));

    /// <summary>Which surfaces call for which of the bundles, as the breakers' board wants to know it.</summary>
    public static IEnumerable<BreakerUse> UsesOf(PolicySnapshot policies, IReadOnlyDictionary<string, ModelBundle> bundles) =>
        from policy in policies.Surfaces
        from bundle in policy.Classifiers.Select(BundleOf).Distinct(StringComparer.Ordinal)
        select new BreakerUse(bundles[bundle], policy.BreakerGroup, policy.Surface);

    /// <summary>Opens the keys that the records of its surfaces need.</summary>
    /// <exception cref="LedgerException">A key file cannot be used; says why and what to do.</exception>
    public void Prepare(RecordPrivacy privacy)
    {
        foreach (var plan in Plans)
        {
            privacy.Prepare(plan.Terms.RecordPlan);
        }
    }

    /// <summary>The plan of a surface, by its UTF-8 name. Allocates nothing.</summary>
    public bool TryGetPlan(ReadOnlySpan<byte> surface, [MaybeNullWhen(false)] out SurfacePlan plan) => _bySurface.TryGetValue(surface, out plan);

    private static FrozenDictionary<byte[], SurfacePlan> Plan(
        PolicySnapshot policies, Func<string, string, GuardedBundle> guarded, string configRevision, string build, uint maxBudgetMicros, int splitAbove) =>
        policies.Surfaces.ToFrozenDictionary(
            static policy => Encoding.UTF8.GetBytes(policy.Surface),
            policy => Plan(policy, guarded, configRevision, build, maxBudgetMicros, splitAbove),
            Utf8Comparer.Instance);

    private static string BundleOf(PolicyClassifier classifier) => classifier.Name[..classifier.Name.IndexOf('/')];

    private static SurfacePlan Plan(
        SurfacePolicy policy, Func<string, string, GuardedBundle> guarded, string configRevision, string build, uint maxBudgetMicros, int splitAbove)
    {
        var order = policy.Classifiers
            .OrderBy(static classifier => classifier.Priority)
            .Select(classifier => guarded(BundleOf(classifier), policy.BreakerGroup))
            .Distinct()
            .ToList();
        var classifiers = ImmutableArray.CreateBuilder<ClassifierSlot>(policy.Classifiers.Length);
        foreach (var classifier in policy.Classifiers)
        {
            classifiers.Add(new ClassifierSlot(classifier.Name, order.IndexOf(guarded(BundleOf(classifier), policy.BreakerGroup)), classifier.FailMode, classifier.MissingMode));
        }

        var terms = new DecisionTerms(
            policy.Surface,
            policy.Name,
            policy.Revision,
            configRevision,
            build,
            [.. order.Select(static guarded => new BundleSlot(guarded.Bundle.Name, guarded.Bundle.Version, guarded.Bundle.ModelSha256))],
            classifiers.MoveToImmutable(),
            [.. policy.Rules.Select(TermsOf)],
            [.. policy.ShadowRules.Select(TermsOf)],
            [.. policy.Attributes.Select(static attribute => attribute.Name).Distinct(StringComparer.Ordinal)],
            policy.ReadsLanguage,
            policy.Record,
            FeaturesOf<TextFeatureSpec>(order),
            FeaturesOf<TensorFeatureSpec>(order),
            policy.AllDownIndex,
            policy.UsesVerdictCache);
        return new SurfacePlan(policy, terms, [.. order.Select(bundle => new BundleStep(bundle, RowsOf(bundle.Bundle, policy)))], maxBudgetMicros, LastKnownRows.Of(terms, order), splitAbove);
    }

    private static ImmutableArray<string> FeaturesOf<T>(List<GuardedBundle> bundles)
        where T : FeatureSpec =>
        [.. bundles.SelectMany(static guarded => guarded.Bundle.Manifest.Features).OfType<T>().Select(static feature => feature.Feature).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];

    private static RuleTerms TermsOf(RuleInfo rule) => new(
        rule.Id, rule.Action, rule.ReasonCode, rule.Severity, rule.DemoteFactor, rule.Label, rule.MinimumAge);

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
