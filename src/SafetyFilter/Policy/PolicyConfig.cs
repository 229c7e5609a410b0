using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>A value with the place it was written at.</summary>
internal readonly record struct Located<T>(T Value, Position At);

internal enum MatchMode
{
    /// <summary>The strongest action of all matching rules decides.</summary>
    Strongest,

    /// <summary>The first matching rule decides.</summary>
    First,
}

/// <summary>One policy as people wrote it: checked key by key, not yet against anything else.</summary>
internal sealed class PolicyConfig
{
    public required PolicyErrors Errors { get; init; }
    public required string File { get; init; }
    public required Position At { get; init; }
    public required Located<string> Name { get; init; }
    public required string Owner { get; init; }
    public required List<Located<string>> Surfaces { get; init; }
    public required List<Located<string>> Purposes { get; init; }
    public required MatchMode Match { get; init; }
    public required int BudgetMicros { get; init; }
    public required string BreakerGroup { get; init; }
    public required Located<AllDownMode> AllDown { get; init; }
    public SurfacePriority Priority { get; init; } = SurfacePriority.Normal;
    public bool ServesWhenShed { get; init; }
    public bool UsesVerdictCache { get; init; }
    public required List<ClassifierConfig> Classifiers { get; init; }
    public required List<RuleConfig> Rules { get; init; }
    public required RecordConfig Record { get; init; }
}

/// <param name="Attributes">The attributes that the lists name, for the check that rules read them.</param>
internal sealed record RecordConfig(RecordTerms Terms, List<Located<string>> Attributes)
{
    public static RecordConfig Default { get; } = new(RecordTerms.Default, []);
}

/// <param name="Missing">What holds where no score is remembered: <paramref name="Fail"/>, unless that is last-known.</param>
/// <param name="Hard">Whether a candidate without a score is blocked.</param>
/// <param name="Priority">The lower, the sooner its bundle runs.</param>
internal sealed record ClassifierConfig(Located<string> Name, FailMode Fail, FailMode Missing, Located<bool> Hard, int Priority);

internal sealed class RuleConfig
{
    public required Located<string> Id { get; init; }
    public required ConditionConfig When { get; init; }
    public required Located<CandidateAction> Action { get; init; }
    public required float DemoteFactor { get; init; }
    public required string Label { get; init; }
    public required int MinimumAge { get; init; }
    public required string Reason { get; init; }
    public required Severity Severity { get; init; }

    /// <summary>The first instant at which the rule no longer holds, in Unix milliseconds; <see cref="long.MaxValue"/> for never.</summary>
    public required long Expires { get; init; }

    public required bool Shadow { get; init; }
}

internal enum ViewerField
{
    Territory,
    AgeBand,
    Experiment,
}

/// <summary>
/// Up to one lower and one upper bound. Score thresholds are float32 widened to double, so that narrowing them is exact.
/// </summary>
internal readonly record struct Bounds(double? Low, bool LowIsExclusive, double? High, bool HighIsExclusive);

internal abstract record ConditionConfig(Position At);

/// <summary>Stands for a condition that was reported; a policy that holds one is never compiled.</summary>
internal sealed record UnreadableConfig(Position At) : ConditionConfig(At);

internal sealed record AlwaysConfig(Position At) : ConditionConfig(At);

internal sealed record ScoreConfig(Position At, Located<string> Classifier, Bounds Bounds) : ConditionConfig(At);

internal sealed record AttributeInConfig(Position At, string Attribute, List<string> Values) : ConditionConfig(At);

internal sealed record AttributeNumberConfig(Position At, string Attribute, Bounds Bounds) : ConditionConfig(At);

internal sealed record AttributeFlagConfig(Position At, string Attribute, bool Is) : ConditionConfig(At);

/// <param name="Ranges">BCP 47 language ranges in lower case.</param>
internal sealed record LanguageConfig(Position At, List<string> Ranges) : ConditionConfig(At);

internal sealed record ViewerConfig(Position At, ViewerField Field, List<string> Values) : ConditionConfig(At);

internal sealed record AllConfig(Position At, List<ConditionConfig> Conditions) : ConditionConfig(At);

internal sealed record AnyConfig(Position At, List<ConditionConfig> Conditions) : ConditionConfig(At);

internal sealed record NotConfig(Position At, ConditionConfig Condition) : ConditionConfig(At);
