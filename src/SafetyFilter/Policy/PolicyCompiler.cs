using System.Collections.Immutable;
using System.Text;
using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>What a classifier's bundle allows policies to do with it.</summary>
/// <param name="Surfaces">"*" stands for all of them.</param>
/// <param name="Purposes">"*" stands for all of them.</param>
/// <param name="Expires">The first instant at which it may no longer be used; null for never.</param>
internal sealed record ClassifierTerms(
    CandidateAction MaxAction, ImmutableArray<string> Purposes, ImmutableArray<string> Surfaces, DateTimeOffset? Expires);

/// <summary>Turns the texts of policy files into a snapshot, or into the list of everything that is wrong with them.</summary>
internal static class PolicyCompiler
{
    /// <param name="known">The classifiers there are; null checks policies without models, and then any well-formed name will do.</param>
    /// <param name="now">Given, classifiers that have expired by then are errors.</param>
    public static PolicyCompilation Compile(
        IReadOnlyList<PolicySource> sources, IReadOnlyDictionary<string, ClassifierTerms>? known, DateTimeOffset? now = null)
    {
        if (sources.Count == 0)
        {
            return new PolicyCompilation(null, [new PolicyError("", new Position(1, 1), "", "there are no policy files", "Give at least one.", "")]);
        }

        var policies = new List<PolicyConfig>();
        var errors = new List<PolicyErrors>();
        foreach (var source in sources.OrderBy(source => source.Name, StringComparer.Ordinal))
        {
            var (found, foundErrors) = PolicyParser.Parse(source);
            policies.AddRange(found);
            errors.AddRange(foundErrors);
        }

        PolicyValidator.Validate(policies, known, now);
        if (errors.Sum(e => e.Count) == 0)
        {
            return new PolicyCompilation(new PolicySnapshot([.. policies.Select(Build)]), []);
        }

        return new PolicyCompilation(null, [.. errors
            .SelectMany(e => e.ToErrors())
            .OrderBy(e => e.File, StringComparer.Ordinal)
            .ThenBy(e => e.At.Line)
            .ThenBy(e => e.At.Column)]);
    }

    private static PolicyDefinition Build(PolicyConfig policy)
    {
        var classifiers = policy.Classifiers
            .OrderBy(c => c.Name.Value, StringComparer.Ordinal)
            .Select(c => new PolicyClassifier(c.Name.Value, c.Fail, c.Missing, c.Hard.Value, c.Priority))
            .ToImmutableArray();
        var conditions = new ConditionCompiler(classifiers, Attributes(policy));
        var rules = new List<CompiledRule>();
        var shadows = new List<CompiledRule>();
        foreach (var rule in policy.Rules)
        {
            var info = new RuleInfo(
                rule.Id.Value, rule.Action.Value, rule.Reason, rule.Severity, rule.DemoteFactor, rule.Label, rule.MinimumAge, rule.Expires);
            var program = conditions.Compile(rule.When);
            if (rule.Shadow)
            {
                shadows.Add(new CompiledRule(shadows.Count, info, program));
            }
            else
            {
                rules.Add(new CompiledRule(rules.Count + 1, info, program));
            }
        }

        var unwritten = Unwritten(policy);
        var canonical = PolicyCanonical.Write(policy);
        return new PolicyDefinition
        {
            Name = policy.Name.Value,
            Owner = policy.Owner,
            Match = policy.Match,
            Surfaces = Sorted(policy.Surfaces),
            Purposes = Sorted(policy.Purposes),
            BudgetMicros = policy.BudgetMicros,
            BreakerGroup = policy.BreakerGroup,
            Priority = policy.Priority,
            ServesWhenShed = policy.ServesWhenShed,
            UsesVerdictCache = policy.UsesVerdictCache,
            Classifiers = classifiers,
            AllDown = policy.AllDown.Value,
            Rules = [SurfacePolicy.DefaultRule, .. rules.Select(rule => rule.Info), .. unwritten],
            ShadowRules = [.. shadows.Select(rule => rule.Info)],
            Attributes = conditions.Attributes,
            ReadsLanguage = policy.Rules.SelectMany(rule => Leaves(rule.When)).Any(leaf => leaf is LanguageConfig),
            Canonical = canonical,
            Revision = PolicyCanonical.Digest(canonical),
            RuleSet = new RuleSet(
                [.. conditions.Tests],
                policy.Match == MatchMode.First ? [.. rules] : [.. StrongestFirst(rules, rule => rule.Info)],
                [.. shadows],
                [.. unwritten.Select((info, i) => new CompiledRule(rules.Count + 1 + i, info, new RuleProgram([RuleProgram.True])))],
                classifiers,
                conditions.Attributes),
            Record = policy.Record.Terms,
            Withheld = Withheld(policy),
        };
    }

    // Rules that follow from other settings. Answers and records tell them like written ones.
    private static ImmutableArray<RuleInfo> Unwritten(PolicyConfig policy)
    {
        var rules = ImmutableArray.CreateBuilder<RuleInfo>();
        if (policy.Classifiers.Exists(c => c.Hard.Value))
        {
            rules.Add(SurfacePolicy.UnscoredRule);
        }

        if (policy.AllDown.Value is AllDownMode.Block or AllDownMode.Allow)
        {
            rules.Add(SurfacePolicy.AllDownRule(policy.AllDown.Value == AllDownMode.Block ? CandidateAction.Block : CandidateAction.Allow));
        }

        return rules.DrainToImmutable();
    }

    private static ImmutableArray<string> Withheld(PolicyConfig policy)
    {
        var read = policy.Rules.SelectMany(rule => Leaves(rule.When)).Select(PathOf).ToHashSet(StringComparer.Ordinal);
        var terms = policy.Record.Terms;
        return [.. terms.Mask.Concat(terms.Seal).Where(read.Contains).Order(StringComparer.Ordinal)];
    }

    // Where a record keeps what the comparison reads.
    private static string PathOf(ConditionConfig condition) => condition switch
    {
        LanguageConfig => "languages",
        ViewerConfig viewer => "viewer." + PolicyCanonical.Field(viewer.Field),
        _ => AttributeOf(condition) is { } attribute ? RecordPaths.AttributePrefix + attribute.Name : "",
    };

    /// <summary>Block, then demote (smaller factor first), age-restrict (higher age first), label, allow; else as written.</summary>
    public static IEnumerable<T> StrongestFirst<T>(IEnumerable<T> rules, Func<T, RuleInfo> info) => rules
        .OrderByDescending(rule => info(rule).Action)
        .ThenBy(rule => info(rule).DemoteFactor)
        .ThenByDescending(rule => info(rule).MinimumAge);

    /// <summary>The comparisons under a condition, left to right.</summary>
    public static IEnumerable<ConditionConfig> Leaves(ConditionConfig condition) => condition switch
    {
        AllConfig all => all.Conditions.SelectMany(Leaves),
        AnyConfig any => any.Conditions.SelectMany(Leaves),
        NotConfig not => Leaves(not.Condition),
        _ => [condition],
    };

    /// <summary>The attribute that a comparison reads, and as what.</summary>
    public static (string Name, AttributeKind Kind)? AttributeOf(ConditionConfig condition) => condition switch
    {
        AttributeInConfig text => (text.Attribute, AttributeKind.Strings),
        AttributeNumberConfig number => (number.Attribute, AttributeKind.Numbers),
        AttributeFlagConfig flag => (flag.Attribute, AttributeKind.Flags),
        _ => null,
    };

    private static ImmutableArray<PolicyAttribute> Attributes(PolicyConfig policy) => [.. policy.Rules
        .SelectMany(rule => Leaves(rule.When))
        .Select(AttributeOf)
        .OfType<(string Name, AttributeKind Kind)>()
        .Distinct()
        .OrderBy(attribute => attribute.Name, StringComparer.Ordinal)
        .Select(attribute => new PolicyAttribute(attribute.Name, Encoding.UTF8.GetBytes(attribute.Name), attribute.Kind))];

    private static ImmutableArray<string> Sorted(List<Located<string>> names) => [.. names.Select(name => name.Value).Order(StringComparer.Ordinal)];
}

/// <summary>Turns conditions into programs over shared tests: equal comparisons of one policy become one test.</summary>
internal sealed class ConditionCompiler(ImmutableArray<PolicyClassifier> classifiers, ImmutableArray<PolicyAttribute> attributes)
{
    private readonly Dictionary<string, short> _known = new(StringComparer.Ordinal);

    public List<ColumnTest> Tests { get; } = [];

    public ImmutableArray<PolicyAttribute> Attributes => attributes;

    public RuleProgram Compile(ConditionConfig condition)
    {
        var code = ImmutableArray.CreateBuilder<short>();
        Emit(condition, code);
        return new RuleProgram(code.DrainToImmutable());
    }

    private void Emit(ConditionConfig condition, ImmutableArray<short>.Builder code)
    {
        switch (condition)
        {
            case AllConfig all:
                EmitList(all.Conditions, RuleProgram.And, code);
                break;
            case AnyConfig any:
                EmitList(any.Conditions, RuleProgram.Or, code);
                break;
            case NotConfig not:
                Emit(not.Condition, code);
                code.Add(RuleProgram.Not);
                break;
            case AlwaysConfig:
                code.Add(RuleProgram.True);
                break;
            default:
                code.Add(TestFor(condition));
                break;
        }
    }

    private void EmitList(List<ConditionConfig> conditions, short op, ImmutableArray<short>.Builder code)
    {
        for (var i = 0; i < conditions.Count; i++)
        {
            Emit(conditions[i], code);
            if (i > 0)
            {
                code.Add(op);
            }
        }
    }

    private short TestFor(ConditionConfig condition)
    {
        var key = PolicyCanonical.Condition(condition);
        if (!_known.TryGetValue(key, out var test))
        {
            test = (short)Tests.Count;
            Tests.Add(Build(condition));
            _known.Add(key, test);
        }

        return test;
    }

    private ColumnTest Build(ConditionConfig condition)
    {
        switch (condition)
        {
            case ScoreConfig score:
                var slot = classifiers.Select(c => c.Name).ToList().IndexOf(score.Classifier.Value);
                return new ScoreColumnTest(slot, ScoreTest.From(score.Bounds), classifiers[slot].MissingMode);
            case AttributeInConfig text:
                return new StringColumnTest(AttributeIndex(text.Attribute), new Utf8Set(text.Values));
            case AttributeNumberConfig number:
                return NumberColumnTest.From(AttributeIndex(number.Attribute), number.Bounds);
            case AttributeFlagConfig flag:
                return new FlagColumnTest(AttributeIndex(flag.Attribute), flag.Is);
            case LanguageConfig language:
                return new LanguageColumnTest(language.Ranges);
            case ViewerConfig viewer:
                return new ViewerColumnTest(viewer.Field, viewer.Values);
            default:
                throw new InvalidOperationException($"A {condition.GetType().Name} is not a comparison.");
        }
    }

    private int AttributeIndex(string name) => attributes.Select(attribute => attribute.Name).ToList().IndexOf(name);
}
