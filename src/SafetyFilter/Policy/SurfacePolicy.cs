using System.Collections.Immutable;
using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>A classifier that a policy reads. Its place in <see cref="SurfacePolicy.Classifiers"/> is its row in the score table.</summary>
/// <param name="MissingMode">What a missing score counts as, closed or open: <paramref name="FailMode"/>, unless that is last-known.</param>
/// <param name="Hard">Whether a candidate without a score is blocked.</param>
/// <param name="Priority">The lower, the sooner its bundle runs.</param>
internal sealed record PolicyClassifier(string Name, FailMode FailMode, FailMode MissingMode, bool Hard, int Priority);

/// <summary>An attribute that a policy reads, and the only kind of column that its comparisons hold for.</summary>
internal sealed record PolicyAttribute(string Name, ReadOnlyMemory<byte> Utf8Name, AttributeKind Kind);

/// <summary>What a rule says when it decides. The parameter that belongs to its action is set; the others are 0 or empty.</summary>
/// <param name="Expires">The first instant at which it no longer holds, in Unix milliseconds; <see cref="long.MaxValue"/> for never.</param>
internal sealed record RuleInfo(
    string Id, CandidateAction Action, string ReasonCode, Severity Severity, float DemoteFactor, string Label, int MinimumAge, long Expires);

/// <summary>
/// Attributes that the policy reads and the request lacked, or sent as another kind of column: bit i is
/// <see cref="SurfacePolicy.Attributes"/>[i]. Comparisons with them did not hold; worth a metric, because nobody else notices.
/// </summary>
internal readonly record struct AttributeGaps(uint Absent, uint Mismatched);

/// <summary>What a policy is, apart from the surface it is asked for. Immutable.</summary>
internal sealed record PolicyDefinition
{
    public required string Name { get; init; }
    public required string Owner { get; init; }
    public required MatchMode Match { get; init; }
    public required ImmutableArray<string> Surfaces { get; init; }
    public required ImmutableArray<string> Purposes { get; init; }
    public required int BudgetMicros { get; init; }
    public required string BreakerGroup { get; init; }
    public required AllDownMode AllDown { get; init; }
    public SurfacePriority Priority { get; init; } = SurfacePriority.Normal;
    public bool ServesWhenShed { get; init; }
    public bool UsesVerdictCache { get; init; }
    public required ImmutableArray<PolicyClassifier> Classifiers { get; init; }
    public required ImmutableArray<RuleInfo> Rules { get; init; }
    public required ImmutableArray<RuleInfo> ShadowRules { get; init; }
    public required ImmutableArray<PolicyAttribute> Attributes { get; init; }
    public required bool ReadsLanguage { get; init; }
    public required string Canonical { get; init; }
    public required string Revision { get; init; }
    public required RuleSet RuleSet { get; init; }
    public required RecordTerms Record { get; init; }
    public required ImmutableArray<string> Withheld { get; init; }
}

/// <summary>The policy of one surface: decides over scores, attributes and viewer alone, and therefore decides a record again. Immutable, thread-safe.</summary>
internal sealed class SurfacePolicy(string surface, PolicyDefinition policy)
{
    /// <summary>The id of <see cref="Rules"/>[0], "no rule matched".</summary>
    public const string DefaultRuleId = "default";

    /// <summary>The id of the rule that blocks what a hard classifier gave no score. Only policies with hard classifiers have it.</summary>
    public const string UnscoredRuleId = "unscored";

    /// <summary>The id of the rule that decides when every classifier is down. Only policies with <c>all_down: block</c> or <c>allow</c> have it.</summary>
    public const string AllDownRuleId = "all-down";

    public static RuleInfo DefaultRule { get; } = new(DefaultRuleId, CandidateAction.Allow, "", default, 0, "", 0, long.MaxValue);

    public static RuleInfo UnscoredRule { get; } =
        new(UnscoredRuleId, CandidateAction.Block, "UNSCORED", PolicyParser.DefaultSeverity, 0, "", 0, long.MaxValue);

    public static RuleInfo AllDownRule(CandidateAction action) => new(AllDownRuleId, action, "ALL_DOWN", PolicyParser.DefaultSeverity, 0, "", 0, long.MaxValue);

    public string Surface => surface;
    public string Name => policy.Name;
    public string Owner => policy.Owner;
    public MatchMode Match => policy.Match;

    /// <summary>SHA-256 over the UTF-8 of <see cref="Canonical"/>, in lower-case hexadecimal. Surfaces of one policy share it.</summary>
    public string Revision => policy.Revision;

    /// <summary>The policy in its one canonical form, which is itself a policy file with the same revision.</summary>
    public string Canonical => policy.Canonical;

    /// <summary>In the order of their names.</summary>
    public ImmutableArray<string> Purposes => policy.Purposes;

    public int BudgetMicros => policy.BudgetMicros;

    /// <summary>Surfaces of one group share the circuit breakers of their bundles.</summary>
    public string BreakerGroup => policy.BreakerGroup;
    public AllDownMode AllDown => policy.AllDown;

    /// <summary>The place of the rule with <see cref="AllDownRuleId"/> in <see cref="Rules"/>; 0 when there is none.</summary>
    public int AllDownIndex => policy.RuleSet.AllDownIndex;

    /// <summary>Whether its requests go first or last when there is too much to do.</summary>
    public SurfacePriority Priority => policy.Priority;

    /// <summary>Whether a request that there is no room for is answered by fail mode; else it is refused.</summary>
    public bool ServesWhenShed => policy.ServesWhenShed;

    /// <summary>Whether scores that a bundle gave the same version of the same content before are taken instead of running it again.</summary>
    public bool UsesVerdictCache => policy.UsesVerdictCache;

    /// <summary>In the order of their names.</summary>
    public ImmutableArray<PolicyClassifier> Classifiers => policy.Classifiers;

    /// <summary>
    /// What <see cref="Verdicts.Rules"/> points into: <see cref="DefaultRule"/>, then the rules that are not shadows as written, then those
    /// that nobody wrote.
    /// </summary>
    public ImmutableArray<RuleInfo> Rules => policy.Rules;

    /// <summary>What <see cref="Verdicts.Shadow"/> points into, as written.</summary>
    public ImmutableArray<RuleInfo> ShadowRules => policy.ShadowRules;

    /// <summary>In the order of their names; at most 32.</summary>
    public ImmutableArray<PolicyAttribute> Attributes => policy.Attributes;

    public bool ReadsLanguage => policy.ReadsLanguage;

    /// <summary>What records of this surface promise, and what they may say.</summary>
    public RecordTerms Record => policy.Record;

    /// <summary>
    /// Paths that rules read and records do not show, because they are masked or sealed. Decisions with any cannot be computed
    /// again from their records alone. In order.
    /// </summary>
    public ImmutableArray<string> Withheld => policy.Withheld;

    public bool Serves(ReadOnlySpan<byte> utf8Purpose)
    {
        foreach (var purpose in policy.Purposes)
        {
            if (System.Text.Ascii.Equals(utf8Purpose, purpose)) // Names are ASCII.
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Whether it gives no answer: every classifier is down, and of some candidate nothing is remembered.</summary>
    public bool Refuses(ScoreTable scores)
    {
        if (policy.AllDown != AllDownMode.Refuse || !scores.IsAllDown())
        {
            return false;
        }

        for (var candidate = 0; candidate < scores.Count; candidate++)
        {
            if (!scores.KnowsOf(candidate))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Decides every candidate, also where it <see cref="Refuses"/>. Allocates nothing once its thread has seen a request of this size.</summary>
    /// <param name="scores">
    /// One row per <see cref="Classifiers"/> entry; whatever is not a number in 0..1 is a missing score, and a number with a failure is a
    /// remembered one.
    /// </param>
    /// <param name="unixTimeMilliseconds">When the decision is made: rules expire by it.</param>
    public AttributeGaps Decide(CandidateBatch batch, ScoreTable scores, long unixTimeMilliseconds, Verdicts verdicts) =>
        policy.RuleSet.Decide(batch, scores, unixTimeMilliseconds, verdicts);
}
