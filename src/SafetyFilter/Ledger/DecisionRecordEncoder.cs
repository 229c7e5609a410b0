using System.Runtime.InteropServices;
using SafetyFilter.Decisions;

namespace SafetyFilter.Ledger;

/// <summary>
/// Writes a <see cref="Decision"/> as the body of a <c>DecisionRecord</c> (lineage.proto): everything but
/// <c>sequence</c>, which the spool appends when it assigns it. Field numbers are those of lineage.proto.
/// </summary>
internal static class DecisionRecordEncoder
{
    /// <summary>Encodes into a cleared <paramref name="into"/>. Allocates only when the buffer has to grow.</summary>
    /// <param name="decision">A finished decision.</param>
    /// <param name="streamId">The ledger stream, 16 bytes.</param>
    /// <param name="epoch">The ledger's epoch.</param>
    /// <param name="lostSinceLast">Decisions answered without a record since the last one.</param>
    /// <param name="into">Receives the body.</param>
    public static void Encode(Decision decision, ReadOnlySpan<byte> streamId, uint epoch, ulong lostSinceLast, ProtoWriter into)
    {
        var batch = decision.Batch;
        var terms = decision.Terms;
        into.Clear();
        into.Bytes(1, streamId);
        into.FixedUInt32(2, epoch);
        into.FixedUInt64(4, (ulong)decision.TimeUnixNanos);
        WriteTrace(decision, into);
        into.Bytes(7, batch[batch.RequestId]);
        WriteText(8, decision.Caller, into);
        into.Bytes(9, batch[batch.Surface]);
        into.Bytes(10, batch[batch.Territory]);
        into.Bytes(11, batch[batch.AgeBand]);
        into.Bytes(12, batch[batch.Experiment]);
        into.Bytes(13, batch.EffectivePurpose);
        into.Bytes(14, terms.Policy);
        into.Bytes(15, terms.PolicyRevision);
        into.Bytes(16, terms.ConfigRevision);
        into.Bytes(17, terms.Build);
        WriteBundles(decision, into);
        WriteClassifiers(terms, into);
        into.UInt32(20, (uint)batch.Count);
        WriteColumn(21, batch, batch.Ids, into);
        WriteColumn(22, batch, batch.ContentVersions, into);
        into.Bytes(23, decision.InputDigests);
        into.PackedFloats(24, decision.Scores.All);
        DecisionColumns.WriteVerdicts(decision, into, actions: 25, ruleIndexes: 26, bases: 27);
        into.PackedFloats(28, decision.Verdicts.Margins);
        WriteAttributes(decision, into);
        DecisionColumns.WriteRules(decision, 30, into);
        DecisionColumns.WriteDegradations(decision, 31, into);
        WriteShadows(decision, into);
        into.UInt32(33, decision.BudgetMicros);
        into.UInt32(34, decision.EngineMicros);
        into.UInt64(35, lostSinceLast);
    }

    private static void WriteTrace(Decision decision, ProtoWriter into)
    {
        if (decision.TraceId != default)
        {
            decision.TraceId.CopyTo(into.Delimit(5, 16));
            decision.SpanId.CopyTo(into.Delimit(6, 8));
        }
    }

    private static void WriteText(int field, string text, ProtoWriter into)
    {
        if (text.Length > 0)
        {
            var size = System.Text.Encoding.UTF8.GetByteCount(text);
            System.Text.Encoding.UTF8.GetBytes(text, into.Delimit(field, size));
        }
    }

    private static void WriteBundles(Decision decision, ProtoWriter into)
    {
        var runs = decision.Runs;
        for (var i = 0; i < runs.Length; i++)
        {
            var bundle = decision.Terms.Bundles[i];
            var mark = into.Begin(18);
            into.Bytes(1, bundle.Name);
            into.Bytes(2, bundle.Version);
            into.Bytes(3, bundle.ModelSha256.Span);
            into.UInt32(4, (uint)runs[i].Failure);
            into.UInt32(5, runs[i].Micros);
            into.UInt32(6, (uint)runs[i].Breaker);
            into.End(mark);
        }
    }

    private static void WriteClassifiers(DecisionTerms terms, ProtoWriter into)
    {
        foreach (var classifier in terms.Classifiers)
        {
            var mark = into.Begin(19);
            into.Bytes(1, classifier.Name);
            into.UInt32(2, (uint)classifier.Bundle);
            into.UInt32(3, (uint)classifier.FailMode);
            into.End(mark);
        }
    }

    private static void WriteColumn(int field, CandidateBatch batch, Utf8Column column, ProtoWriter into)
    {
        ReadOnlySpan<byte> buffer = batch.Buffer;
        foreach (var slice in column.Slices)
        {
            into.Element(field, slice.In(buffer));
        }
    }

    private static void WriteAttributes(Decision decision, ProtoWriter into)
    {
        var batch = decision.Batch;
        if (decision.Terms.ReadsLanguage && batch.Languages.Count > 0)
        {
            var mark = into.Begin(29);
            into.Bytes(1, "language"u8);
            WriteColumn(2, batch, batch.Languages, into);
            into.End(mark);
        }

        foreach (var name in decision.Terms.Attributes)
        {
            if (batch.FindAttribute(name) is not { } column)
            {
                continue;
            }

            var mark = into.Begin(29);
            into.Bytes(1, name);
            switch (column.Kind)
            {
                case AttributeKind.Strings:
                    WriteColumn(2, batch, column.Strings, into);
                    break;
                case AttributeKind.Numbers:
                    into.PackedDoubles(3, CollectionsMarshal.AsSpan(column.Numbers));
                    break;
                default:
                    into.PackedBytes(4, MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(column.Flags)));
                    break;
            }

            into.End(mark);
        }
    }

    private static void WriteShadows(Decision decision, ProtoWriter into)
    {
        var rules = decision.Terms.ShadowRules;
        for (var i = 0; i < rules.Length; i++)
        {
            var matched = decision.Verdicts.Shadow(i);
            if (!Bitmap.Any(matched))
            {
                continue;
            }

            var mark = into.Begin(32);
            into.Bytes(1, rules[i].Id);
            into.UInt32(2, (uint)rules[i].Action);
            var column = into.Begin(3);
            for (var candidate = 0; candidate < decision.Batch.Count; candidate++)
            {
                if (Bitmap.Get(matched, candidate))
                {
                    into.PackedElement((uint)candidate);
                }
            }

            into.End(column);
            into.End(mark);
        }
    }
}
