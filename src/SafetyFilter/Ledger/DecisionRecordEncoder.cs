using System.Runtime.InteropServices;
using System.Text.Unicode;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger.Privacy;

namespace SafetyFilter.Ledger;

/// <summary>
/// Writes a <see cref="Decision"/> as the body of a <c>DecisionRecord</c> (lineage.proto): everything but
/// <c>sequence</c>, which the spool appends when it assigns it. Field numbers are those of lineage.proto.
/// </summary>
internal static class DecisionRecordEncoder
{
    /// <summary>Encodes into a cleared <paramref name="into"/>. Allocates only when the buffer has to grow or fields are sealed.</summary>
    /// <param name="decision">A finished decision.</param>
    /// <param name="streamId">The ledger stream, 16 bytes.</param>
    /// <param name="epoch">The ledger's epoch.</param>
    /// <param name="lostSinceLast">Decisions answered without a record since the last one.</param>
    /// <param name="into">Receives the body.</param>
    /// <param name="privacy">The keys; without them, what should be hashed or sealed is masked.</param>
    public static RecordShortfall Encode(
        Decision decision, ReadOnlySpan<byte> streamId, uint epoch, ulong lostSinceLast, ProtoWriter into, RecordPrivacy? privacy = null)
    {
        var batch = decision.Batch;
        var terms = decision.Terms;
        var shown = ShownFields.Of(terms.RecordPlan, privacy?.Hash);
        into.Clear();
        into.Bytes(1, streamId);
        into.FixedUInt32(2, epoch);
        into.FixedUInt64(4, (ulong)decision.TimeUnixNanos);
        WriteTrace(decision, shown, into);
        WriteIdentifier(7, RecordParts.RequestId, "request_id"u8, batch[batch.RequestId], shown, into);
        WriteCaller(decision, shown, into);
        into.Bytes(9, batch[batch.Surface]);
        WriteViewer(batch, shown, into);
        into.Bytes(13, batch.EffectivePurpose);
        into.Bytes(14, terms.Policy);
        into.Bytes(15, terms.PolicyRevision);
        into.Bytes(16, terms.ConfigRevision);
        into.Bytes(17, terms.Build);
        WriteBundles(decision, into);
        WriteClassifiers(terms, into);
        into.UInt32(20, (uint)batch.Count);
        WriteIdentifiers(decision, shown, into);
        into.PackedFloats(24, decision.Scores.All);
        DecisionColumns.WriteVerdicts(decision, into, actions: 25, ruleIndexes: 26, bases: 27);
        into.PackedFloats(28, decision.Verdicts.Margins);
        WriteAttributes(decision, shown, into);
        DecisionColumns.WriteRules(decision, 30, into);
        DecisionColumns.WriteDegradations(decision, 31, into);
        WriteShadows(decision, into);
        into.UInt32(33, decision.BudgetMicros);
        into.UInt32(34, decision.EngineMicros);
        into.UInt64(35, lostSinceLast);
        into.UInt32(41, (uint)decision.BudgetBound);
        WriteIdentifier(42, RecordParts.IdempotencyKey, "idempotency_key"u8, batch[batch.IdempotencyKey], shown, into);
        into.UInt32(43, batch.Attempt);
        into.UInt32(44, decision.QueueMicros);
        return PrivateFields.Write(decision, streamId, epoch, privacy, into);
    }

    /// <summary>Only what a policy may leave out, as far as <paramref name="shown"/> shows it: the inside of sealed fields.</summary>
    public static void WriteShown(Decision decision, in ShownFields shown, ProtoWriter into)
    {
        var batch = decision.Batch;
        WriteTrace(decision, shown, into);
        WriteIdentifier(7, RecordParts.RequestId, "request_id"u8, batch[batch.RequestId], shown, into);
        WriteCaller(decision, shown, into);
        WriteViewer(batch, shown, into);
        WriteIdentifiers(decision, shown, into);
        WriteAttributes(decision, shown, into);
        WriteIdentifier(42, RecordParts.IdempotencyKey, "idempotency_key"u8, batch[batch.IdempotencyKey], shown, into);
        if (shown.Has(RecordParts.Inputs))
        {
            InputCapture.Write(40, batch, decision.Terms.RecordPlan, into);
        }
    }

    private static void WriteTrace(Decision decision, in ShownFields shown, ProtoWriter into)
    {
        if (decision.TraceId != default && shown.Has(RecordParts.Trace))
        {
            decision.TraceId.CopyTo(into.Delimit(5, 16));
            decision.SpanId.CopyTo(into.Delimit(6, 8));
        }
    }

    private static void WriteCaller(Decision decision, in ShownFields shown, ProtoWriter into)
    {
        // The longest IPv6 address with a scope is shorter.
        Span<byte> utf8 = stackalloc byte[256];
        _ = Utf8.FromUtf16(decision.Caller, utf8, out _, out var length);
        WriteIdentifier(8, RecordParts.Caller, "caller"u8, utf8[..length], shown, into);
    }

    private static void WriteViewer(CandidateBatch batch, in ShownFields shown, ProtoWriter into)
    {
        into.Bytes(10, shown.Has(RecordParts.Territory) ? batch[batch.Territory] : []);
        into.Bytes(11, shown.Has(RecordParts.AgeBand) ? batch[batch.AgeBand] : []);
        into.Bytes(12, shown.Has(RecordParts.Experiment) ? batch[batch.Experiment] : []);
    }

    private static void WriteIdentifiers(Decision decision, in ShownFields shown, ProtoWriter into)
    {
        var batch = decision.Batch;
        WriteIdentifiers(21, RecordParts.CandidateIds, "candidate_ids"u8, batch, batch.Ids, shown, into);
        WriteIdentifiers(22, RecordParts.ContentVersions, "content_versions"u8, batch, batch.ContentVersions, shown, into);
        into.Bytes(23, shown.Has(RecordParts.InputDigests) ? decision.InputDigests : []);
    }

    private static void WriteIdentifier(
        int field, RecordParts part, ReadOnlySpan<byte> path, ReadOnlySpan<byte> value, in ShownFields shown, ProtoWriter into)
    {
        if (value.IsEmpty || !shown.Has(part))
        {
            return;
        }

        if (shown.KeyFor(part) is { } key)
        {
            key.Write(path, value, into.Delimit(field, HashKey.TextLength));
            return;
        }

        into.Element(field, value);
    }

    private static void WriteIdentifiers(
        int field, RecordParts part, ReadOnlySpan<byte> path, CandidateBatch batch, Utf8Column column, in ShownFields shown, ProtoWriter into)
    {
        if (!shown.Has(part))
        {
            return;
        }

        if (shown.KeyFor(part) is not { } key)
        {
            WriteColumn(field, batch, column, into);
            return;
        }

        ReadOnlySpan<byte> buffer = batch.Buffer;
        foreach (var slice in column.Slices)
        {
            key.Write(path, slice.In(buffer), into.Delimit(field, HashKey.TextLength));
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
            if (runs[i].Remembered > 0)
            {
                into.PackedBits(7, decision.Remembered(i), decision.Batch.Count);
            }

            into.UInt32(8, (uint)runs[i].Parts);
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

    private static void WriteAttributes(Decision decision, in ShownFields shown, ProtoWriter into)
    {
        var batch = decision.Batch;
        if (decision.Terms.ReadsLanguage && batch.Languages.Count > 0 && shown.Has(RecordParts.Languages))
        {
            var mark = into.Begin(29);
            into.Bytes(1, "language"u8);
            WriteColumn(2, batch, batch.Languages, into);
            into.End(mark);
        }

        for (var i = 0; i < decision.Terms.Attributes.Length; i++)
        {
            var name = decision.Terms.Attributes[i];
            if (!shown.HasAttribute(i) || batch.FindAttribute(name) is not { } column)
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
