using System.Collections.Immutable;
using System.IO.Hashing;
using System.Security.Cryptography;
using SafetyFilter.Decisions;

namespace SafetyFilter.Ledger.Privacy;

/// <summary>
/// The end of a DecisionRecord, fields 36 to 40: what was left out, hashed or sealed, the sealed fields, the captured inputs. Last,
/// because only now is it known whether the inputs fit.
/// </summary>
internal static class PrivateFields
{
    // For the lists of paths and the seal's head.
    private const int Overhead = 4096;

    [ThreadStatic]
    private static ProtoWriter? _scratch;

    public static RecordShortfall Write(Decision decision, ReadOnlySpan<byte> streamId, uint epoch, RecordPrivacy? privacy, ProtoWriter into)
    {
        var batch = decision.Batch;
        var plan = decision.Terms.RecordPlan;
        Span<byte> keyId = stackalloc byte[SubjectSlot.IdLength];
        Span<byte> key = stackalloc byte[SubjectSlot.KeyLength];
        var shortfall = RecordShortfall.None;

        var captures = plan.Captures && (plan.Masked & RecordParts.Inputs) == RecordParts.None && plan.IsSampled(XxHash3.HashToUInt64(decision.InputDigests));
        var sealedParts = captures ? plan.Sealed : plan.Sealed & ~RecordParts.Inputs;
        var seals = sealedParts != RecordParts.None || plan.SealedAttributes != 0;
        if (seals && !(privacy?.Subjects is { } subjects && !batch.Subject.IsEmpty && subjects.TryGetKey(batch[batch.Subject], keyId, key)))
        {
            seals = false;
            shortfall = RecordShortfall.Unsealed;
        }

        var sealsInputs = (sealedParts & RecordParts.Inputs) != RecordParts.None;
        var inputsLeftOut = captures && sealsInputs && !seals;
        if (captures && into.Length + InputCapture.Bound(batch, plan) + Overhead > (privacy?.MaxRecordBytes ?? SegmentFormat.MaxPayload))
        {
            inputsLeftOut = true;
            sealedParts &= ~RecordParts.Inputs;
            seals = seals && (sealedParts != RecordParts.None || plan.SealedAttributes != 0);
            shortfall |= RecordShortfall.InputsDropped;
        }

        WritePaths(36, plan.MaskedPaths, into);
        if ((shortfall & RecordShortfall.Unsealed) != RecordShortfall.None)
        {
            WritePaths(36, plan.SealedPaths, into);
        }

        if (inputsLeftOut)
        {
            into.Element(36, "inputs"u8);
        }

        if (plan.Hashed != RecordParts.None)
        {
            // Without a key they were masked.
            WritePaths(privacy?.Hash is null ? 36 : 37, plan.HashedPaths, into);
            into.Bytes(38, privacy?.Hash is { } hash ? hash.Id : []);
        }

        if (seals)
        {
            var scratch = _scratch ??= new ProtoWriter();
            scratch.Clear();
            DecisionRecordEncoder.WriteShown(decision, new ShownFields(sealedParts, plan.SealedAttributes, RecordParts.None, null), scratch);
            WriteSealed(decision, streamId, epoch, keyId, key, scratch.Written, (sealedParts & RecordParts.Inputs) != RecordParts.None, into);
        }

        CryptographicOperations.ZeroMemory(key);
        if (captures && !inputsLeftOut && !sealsInputs)
        {
            InputCapture.Write(40, batch, plan, into);
        }

        return shortfall;
    }

    private static void WriteSealed(
        Decision decision, ReadOnlySpan<byte> streamId, uint epoch, ReadOnlySpan<byte> keyId, ReadOnlySpan<byte> key, ReadOnlySpan<byte> text, bool withInputs, ProtoWriter into)
    {
        Span<byte> nonce = stackalloc byte[SealedFields.NonceLength];
        Span<byte> associated = stackalloc byte[SealedFields.AssociatedLength];
        RandomNumberGenerator.Fill(nonce);
        SealedFields.Associate(streamId, epoch, (ulong)decision.TimeUnixNanos, associated);
        var mark = into.Begin(39);
        into.Bytes(1, keyId);
        into.Bytes(2, nonce);
        SealedFields.Encrypt(key, nonce, text, associated, into.Delimit(3, text.Length + SealedFields.TagLength));
        WritePaths(4, decision.Terms.RecordPlan.SealedPaths, into);
        if (withInputs)
        {
            into.Element(4, "inputs"u8);
        }

        into.End(mark);
    }

    private static void WritePaths(int field, ImmutableArray<byte[]> paths, ProtoWriter into)
    {
        foreach (var path in paths)
        {
            into.Element(field, path);
        }
    }
}
