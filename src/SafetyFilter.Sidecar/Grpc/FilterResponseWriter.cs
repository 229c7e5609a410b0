using SafetyFilter.Decisions;
using SafetyFilter.Ledger;

namespace SafetyFilter.Sidecar.Grpc;

/// <summary>Writes a decision as a <c>FilterResponse</c>. Field numbers are those of filter.proto.</summary>
internal static class FilterResponseWriter
{
    public static void Write(Decision decision, in LedgerReceipt receipt, ReadOnlySpan<byte> streamId, ProtoWriter into)
    {
        var batch = decision.Batch;
        var terms = decision.Terms;
        into.Bytes(1, batch[batch.RequestId]);
        DecisionColumns.WriteVerdicts(decision, into, actions: 2, ruleIndexes: 3, bases: 5);
        DecisionColumns.WriteRules(decision, 4, into);
        WriteClassifiers(decision, into);
        DecisionColumns.WriteDegradations(decision, 7, into);
        if (batch.ReturnScores)
        {
            into.PackedFloats(8, decision.Scores.All);
        }

        into.Bytes(9, terms.Policy);
        into.Bytes(10, terms.PolicyRevision);
        WriteReceipt(receipt, streamId, into);
        into.UInt32(12, decision.EngineMicros);
        into.UInt32(13, decision.BudgetMicros);
        into.UInt32(14, (uint)decision.BudgetBound);
        into.UInt32(15, decision.QueueMicros);
    }

    private static void WriteClassifiers(Decision decision, ProtoWriter into)
    {
        foreach (var classifier in decision.Terms.Classifiers)
        {
            var run = decision.Runs[classifier.Bundle];
            var mark = into.Begin(6);
            into.Bytes(1, classifier.Name);
            into.Bytes(2, decision.Terms.Bundles[classifier.Bundle].Version);
            into.UInt32(3, (uint)run.Failure);
            into.UInt32(4, (uint)classifier.FailMode);
            into.UInt32(5, run.Micros);
            into.UInt32(6, (uint)run.Remembered);
            into.End(mark);
        }
    }

    private static void WriteReceipt(in LedgerReceipt receipt, ReadOnlySpan<byte> streamId, ProtoWriter into)
    {
        var mark = into.Begin(11);
        into.Bytes(1, streamId);
        into.UInt32(2, receipt.Epoch);
        into.UInt64(3, receipt.Sequence);
        if (receipt.Sequence != 0)
        {
            into.Bytes(4, receipt.LeafHash);
        }

        into.UInt32(5, (uint)receipt.Durability);
        into.Bool(6, receipt.Pending);
        into.End(mark);
    }
}
