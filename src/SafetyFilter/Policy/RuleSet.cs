using System.Collections.Immutable;
using System.Numerics;
using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>A rule made ready to run.</summary>
/// <param name="Index">Its place in <see cref="SurfacePolicy.Rules"/>, or in <see cref="SurfacePolicy.ShadowRules"/> for a shadow rule.</param>
internal sealed record CompiledRule(int Index, RuleInfo Info, RuleProgram Program);

/// <summary>
/// The compiled rules of one policy. Everything is done column by column: a comparison is evaluated over all candidates and at
/// most once however many rules use it, rules combine the resulting bits 64 candidates at a time, and only what a rule decides
/// is touched candidate by candidate.
/// </summary>
/// <remarks>
/// "The strongest action wins" needs no comparing at run time: the rules are sorted strongest first when they are compiled, and
/// then the first match decides in both modes. Once every candidate is decided, the remaining rules are not looked at.
/// </remarks>
/// <param name="order">The deciding rules, in the order in which they take candidates.</param>
/// <param name="unwritten">The rules that nobody wrote: they take candidates before all others, by missing scores alone.</param>
internal sealed class RuleSet(
    ImmutableArray<ColumnTest> tests,
    ImmutableArray<CompiledRule> order,
    ImmutableArray<CompiledRule> shadows,
    ImmutableArray<CompiledRule> unwritten,
    ImmutableArray<PolicyClassifier> classifiers,
    ImmutableArray<PolicyAttribute> attributes)
{
    private readonly CompiledRule? _unscored = Find(unwritten, SurfacePolicy.UnscoredRuleId);
    private readonly CompiledRule? _allDown = Find(unwritten, SurfacePolicy.AllDownRuleId);

    public int AllDownIndex => _allDown?.Index ?? 0;

    public AttributeGaps Decide(CandidateBatch batch, ScoreTable scores, long unixTimeMilliseconds, Verdicts verdicts)
    {
        var count = batch.Count;
        if (scores.Count != count || scores.Classifiers != classifiers.Length)
        {
            throw new ArgumentException(
                $"The score table has {scores.Classifiers} x {scores.Count} cells; the policy needs {classifiers.Length} x {count}.", nameof(scores));
        }

        verdicts.Reset(count, shadows.Length);
        if (count == 0)
        {
            return default;
        }

        var scratch = DecisionScratch.ForThisThread;
        scratch.Prepare(count, tests.Length, classifiers.Length, attributes.Length);
        var gaps = FindAttributes(batch, scratch);
        FindMissingScores(scores, scratch, verdicts.Bases);
        DecideUnscored(scratch, verdicts);
        DecideAllDown(scores, scratch, verdicts);

        foreach (var rule in order)
        {
            if (unixTimeMilliseconds < rule.Info.Expires && !DecideBy(rule, batch, scores, scratch, verdicts))
            {
                break;
            }
        }

        foreach (var rule in shadows)
        {
            if (unixTimeMilliseconds < rule.Info.Expires)
            {
                RunTests(rule.Program, batch, scores, scratch);
                var matched = verdicts.Shadow(rule.Index);
                for (var w = 0; w < matched.Length; w++)
                {
                    matched[w] = rule.Program.Match(scratch.Tests, scratch.Words, w);
                }

                Bitmap.ClearTail(matched, count);
            }
        }

        scratch.Release();
        return gaps;
    }

    /// <summary>Blocks what a hard classifier gave no score.</summary>
    private void DecideUnscored(DecisionScratch scratch, Verdicts verdicts)
    {
        if (_unscored is null)
        {
            return;
        }

        for (var slot = 0; slot < classifiers.Length; slot++)
        {
            if (classifiers[slot].Hard && scratch.HasMissing(slot))
            {
                var missing = scratch.Missing(slot);
                for (var w = 0; w < missing.Length; w++)
                {
                    for (var rest = missing[w] & scratch.Undecided[w]; rest != 0; rest &= rest - 1)
                    {
                        Take((w << 6) + BitOperations.TrailingZeroCount(rest), _unscored, verdicts);
                    }

                    scratch.Undecided[w] &= ~missing[w];
                }
            }
        }
    }

    /// <summary>When every classifier is down, decides what nothing is remembered of.</summary>
    private void DecideAllDown(ScoreTable scores, DecisionScratch scratch, Verdicts verdicts)
    {
        if (_allDown is null || !scores.IsAllDown())
        {
            return;
        }

        for (var w = 0; w < scratch.Undecided.Length; w++)
        {
            var unknown = scratch.Undecided[w];
            for (var slot = 0; slot < classifiers.Length; slot++)
            {
                unknown &= scratch.Missing(slot)[w];
            }

            scratch.Undecided[w] ^= unknown;
            for (; unknown != 0; unknown &= unknown - 1)
            {
                var candidate = (w << 6) + BitOperations.TrailingZeroCount(unknown);
                Take(candidate, _allDown, verdicts);
                verdicts.Bases[candidate] = _allDown.Info.Action == CandidateAction.Block ? Basis.FailedClosed : Basis.FailedOpen;
            }
        }
    }

    private static void Take(int candidate, CompiledRule rule, Verdicts verdicts)
    {
        verdicts.Actions[candidate] = rule.Info.Action;
        verdicts.Rules[candidate] = (ushort)rule.Index;
    }

    /// <summary>Gives the rule all candidates that it matches and that are still undecided. False when none are left.</summary>
    private bool DecideBy(CompiledRule rule, CandidateBatch batch, ScoreTable scores, DecisionScratch scratch, Verdicts verdicts)
    {
        RunTests(rule.Program, batch, scores, scratch);
        var undecided = scratch.Undecided;
        var left = 0UL;
        for (var w = 0; w < undecided.Length; w++)
        {
            if (undecided[w] == 0)
            {
                continue;
            }

            var decided = undecided[w] & rule.Program.Match(scratch.Tests, scratch.Words, w);
            undecided[w] ^= decided;
            left |= undecided[w];
            for (; decided != 0; decided &= decided - 1)
            {
                var candidate = (w << 6) + BitOperations.TrailingZeroCount(decided);
                verdicts.Actions[candidate] = rule.Info.Action;
                verdicts.Rules[candidate] = (ushort)rule.Index;
                verdicts.Margins[candidate] = rule.Program.Margin(tests, scores, scratch, candidate);
            }
        }

        return left != 0;
    }

    private void RunTests(RuleProgram program, CandidateBatch batch, ScoreTable scores, DecisionScratch scratch)
    {
        foreach (var op in program.Code)
        {
            if (op >= 0 && !scratch.Tested[op])
            {
                scratch.Tested[op] = true;
                tests[op].Match(batch, scores, scratch, scratch.Tests.Slice(op * scratch.Words, scratch.Words));
            }
        }
    }

    /// <summary>A score counts if it is a number in 0..1, whatever the table says of it: nothing else may pass for a score.</summary>
    private void FindMissingScores(ScoreTable scores, DecisionScratch scratch, Span<Basis> bases)
    {
        for (var slot = 0; slot < classifiers.Length; slot++)
        {
            if (classifiers[slot].FailMode == FailMode.LastKnown && scores.IsIncomplete(slot))
            {
                FindRememberedScores(scores, slot, bases);
            }

            var missing = scratch.Missing(slot);
            ColumnKernel.InRange(scores.Row(slot), 0f, 1f, missing);
            for (var w = 0; w < missing.Length; w++)
            {
                missing[w] = ~missing[w];
            }

            Bitmap.ClearTail(missing, bases.Length);
            scratch.SetHasMissing(slot, Bitmap.Any(missing));
            if (!scratch.HasMissing(slot))
            {
                continue;
            }

            var basis = classifiers[slot].MissingMode == FailMode.Closed ? Basis.FailedClosed : Basis.FailedOpen;
            for (var w = 0; w < missing.Length; w++)
            {
                for (var rest = missing[w]; rest != 0; rest &= rest - 1)
                {
                    // FailedClosed over FailedOpen over LastKnown over Evaluated.
                    ref var current = ref bases[(w << 6) + BitOperations.TrailingZeroCount(rest)];
                    current = current == Basis.FailedClosed ? current : basis;
                }
            }
        }
    }

    private static void FindRememberedScores(ScoreTable scores, int slot, Span<Basis> bases)
    {
        var failures = scores.Failures(slot);
        var row = scores.Row(slot);
        for (var candidate = 0; candidate < failures.Length; candidate++)
        {
            if (failures[candidate] != FailureKind.None && row[candidate] is >= 0f and <= 1f && bases[candidate] == Basis.Evaluated)
            {
                bases[candidate] = Basis.LastKnown;
            }
        }
    }

    private static CompiledRule? Find(ImmutableArray<CompiledRule> rules, string id)
    {
        foreach (var rule in rules)
        {
            if (rule.Info.Id == id)
            {
                return rule;
            }
        }

        return null;
    }

    private AttributeGaps FindAttributes(CandidateBatch batch, DecisionScratch scratch)
    {
        uint absent = 0, mismatched = 0;
        for (var i = 0; i < attributes.Length; i++)
        {
            var column = batch.FindAttribute(attributes[i].Utf8Name.Span);
            if (column is null)
            {
                absent |= 1u << i;
            }
            else if (column.Kind != attributes[i].Kind || Length(column) != batch.Count)
            {
                mismatched |= 1u << i;
                column = null;
            }

            scratch.SetAttribute(i, column);
        }

        return new AttributeGaps(absent, mismatched);
    }

    private static int Length(AttributeColumn column) => column.Kind switch
    {
        AttributeKind.Strings => column.Strings.Count,
        AttributeKind.Numbers => column.Numbers.Count,
        _ => column.Flags.Count,
    };
}
