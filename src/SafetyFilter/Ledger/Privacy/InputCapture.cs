using System.Runtime.InteropServices;
using SafetyFilter.Decisions;

namespace SafetyFilter.Ledger.Privacy;

/// <summary>The features that a surface's bundles read, as they were sent: message CapturedInputs.</summary>
internal static class InputCapture
{
    private const int PerColumn = 128;

    // Tag, length and an entry of the list of missing ones.
    private const int PerCandidate = 16;

    [ThreadStatic]
    private static ulong[]? _missing;

    /// <summary>Bytes that <see cref="Write"/> takes at most.</summary>
    public static long Bound(CandidateBatch batch, RecordPlan plan)
    {
        var bytes = 0L;
        foreach (var name in plan.TextFeatures)
        {
            if (batch.FindText(name) is { } column)
            {
                bytes += PerColumn + (long)PerCandidate * batch.Count;
                foreach (var slice in column.Values.Slices)
                {
                    bytes += slice.Length;
                }
            }
        }

        foreach (var name in plan.TensorFeatures)
        {
            if (batch.FindTensor(name) is { } column)
            {
                bytes += PerColumn + (long)PerCandidate * batch.Count + column.Data.Length;
            }
        }

        return bytes;
    }

    public static void Write(int field, CandidateBatch batch, RecordPlan plan, ProtoWriter into)
    {
        var inputs = into.Begin(field);
        foreach (var name in plan.TextFeatures)
        {
            if (batch.FindText(name) is { } column)
            {
                WriteText(batch, column, into);
            }
        }

        foreach (var name in plan.TensorFeatures)
        {
            if (batch.FindTensor(name) is { } column)
            {
                WriteTensor(batch, column, into);
            }
        }

        into.End(inputs);
    }

    private static void WriteText(CandidateBatch batch, TextColumn column, ProtoWriter into)
    {
        var mark = into.Begin(1);
        into.Bytes(1, batch[column.Name]);
        foreach (var value in column.Values.Slices)
        {
            into.Element(2, batch[value]);
        }

        WriteMissing(3, column.Missing, batch.Count, into);
        into.End(mark);
    }

    private static void WriteTensor(CandidateBatch batch, TensorColumn column, ProtoWriter into)
    {
        var mark = into.Begin(2);
        into.Bytes(1, batch[column.Name]);
        into.UInt32(2, (uint)column.DataType);
        var shape = into.Begin(3);
        into.PackedElement((uint)column.Rows);
        foreach (var dimension in CollectionsMarshal.AsSpan(column.RowShape))
        {
            into.PackedElement((uint)dimension);
        }

        into.End(shape);
        into.Bytes(4, batch[column.Data]);
        WriteMissing(5, column.Missing, batch.Count, into);
        into.End(mark);
    }

    // Requests may name candidates in any order and twice.
    private static void WriteMissing(int field, List<int> missing, int count, ProtoWriter into)
    {
        if (missing.Count == 0)
        {
            return;
        }

        var words = Bitmap.Words(count);
        if (_missing is null || _missing.Length < words)
        {
            _missing = new ulong[words];
        }

        var bits = _missing.AsSpan(0, words);
        bits.Clear();
        foreach (var candidate in CollectionsMarshal.AsSpan(missing))
        {
            Bitmap.Set(bits, candidate);
        }

        var mark = into.Begin(field);
        for (var candidate = 0; candidate < count; candidate++)
        {
            if (Bitmap.Get(bits, candidate))
            {
                into.PackedElement((uint)candidate);
            }
        }

        into.End(mark);
    }
}
