using System.Numerics;
using System.Runtime.InteropServices;
using SafetyFilter.Decisions;

namespace SafetyFilter.Ledger;

/// <summary>The parts of a decision that have the same form in the answer (filter.proto) and in the record (lineage.proto).</summary>
internal static class DecisionColumns
{
    /// <summary>The three packed columns: action, index into the table of deciding rules, basis.</summary>
    public static void WriteVerdicts(Decision decision, ProtoWriter into, int actions, int ruleIndexes, int bases)
    {
        var verdicts = decision.Verdicts;
        into.PackedBytes(actions, MemoryMarshal.AsBytes(verdicts.Actions));
        var mark = into.Begin(ruleIndexes);
        foreach (var rule in verdicts.Rules)
        {
            into.PackedElement((uint)decision.TableIndexOf(rule));
        }

        into.End(mark);
        into.PackedBytes(bases, MemoryMarshal.AsBytes(verdicts.Bases));
    }

    /// <summary>The table of deciding rules (message DecidingRule).</summary>
    public static void WriteRules(Decision decision, int field, ProtoWriter into)
    {
        foreach (var index in decision.UsedRules)
        {
            var rule = decision.Terms.Rules[index];
            var mark = into.Begin(field);
            into.Bytes(1, rule.Id);
            into.UInt32(2, (uint)rule.Action);
            into.Bytes(3, rule.ReasonCode);
            into.UInt32(4, (uint)rule.Severity);
            into.Float(5, rule.DemoteFactor);
            into.Bytes(6, rule.Label);
            into.UInt32(7, (uint)rule.MinimumAge);
            into.End(mark);
        }
    }

    /// <summary>
    /// Every classifier x candidate without a score of its own (message Degradation), one entry per classifier, failure kind and
    /// what stands in for the score.
    /// </summary>
    public static void WriteDegradations(Decision decision, int field, ProtoWriter into)
    {
        for (var classifier = 0; classifier < decision.Scores.Classifiers; classifier++)
        {
            if (!decision.Scores.IsIncomplete(classifier))
            {
                continue;
            }

            var marks = MarksIn(decision, classifier);
            for (var rest = marks & ~1u; rest != 0; rest &= rest - 1)
            {
                WriteDegradation(decision, field, classifier, BitOperations.TrailingZeroCount(rest), isForAll: BitOperations.IsPow2(marks), into);
            }
        }
    }

    // Bit 0: candidates that have a score.
    private static uint MarksIn(Decision decision, int classifier)
    {
        var marks = 0u;
        for (var candidate = 0; candidate < decision.Scores.Count; candidate++)
        {
            marks |= 1u << decision.MarkOf(classifier, candidate);
        }

        return marks;
    }

    private static void WriteDegradation(Decision decision, int field, int classifier, int degradation, bool isForAll, ProtoWriter into)
    {
        var mark = into.Begin(field);
        into.UInt32(1, (uint)classifier);
        into.UInt32(2, (uint)degradation >> 2);
        into.UInt32(3, (uint)degradation & 3);
        if (!isForAll)
        {
            var column = into.Begin(4);
            for (var candidate = 0; candidate < decision.Scores.Count; candidate++)
            {
                if (decision.MarkOf(classifier, candidate) == degradation)
                {
                    into.PackedElement((uint)candidate);
                }
            }

            into.End(column);
        }

        into.End(mark);
    }
}
