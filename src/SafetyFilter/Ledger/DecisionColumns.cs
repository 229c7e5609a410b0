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
    /// Every classifier x candidate without a score (message Degradation), one entry per classifier and failure kind.
    /// </summary>
    public static void WriteDegradations(Decision decision, int field, ProtoWriter into)
    {
        for (var classifier = 0; classifier < decision.Scores.Classifiers; classifier++)
        {
            if (!decision.Scores.IsIncomplete(classifier))
            {
                continue;
            }

            var failures = decision.Scores.Failures(classifier);
            var kinds = KindsIn(failures);
            for (var kind = FailureKind.Error; kind <= FailureKind.FeatureMismatch; kind++)
            {
                if ((kinds >> (int)kind & 1) != 0)
                {
                    WriteDegradation(decision, field, classifier, kind, failures, into);
                }
            }
        }
    }

    private static uint KindsIn(ReadOnlySpan<FailureKind> failures)
    {
        var kinds = 0u;
        foreach (var failure in failures)
        {
            kinds |= 1u << (int)failure;
        }

        return kinds;
    }

    private static void WriteDegradation(
        Decision decision, int field, int classifier, FailureKind kind, ReadOnlySpan<FailureKind> failures, ProtoWriter into)
    {
        var mark = into.Begin(field);
        into.UInt32(1, (uint)classifier);
        into.UInt32(2, (uint)kind);
        into.UInt32(3, (uint)decision.Terms.Classifiers[classifier].FailMode);
        if (failures.ContainsAnyExcept(kind))
        {
            var column = into.Begin(4);
            for (var candidate = 0; candidate < failures.Length; candidate++)
            {
                if (failures[candidate] == kind)
                {
                    into.PackedElement((uint)candidate);
                }
            }

            into.End(column);
        }

        into.End(mark);
    }
}
