using System.Runtime.InteropServices;

namespace SafetyFilter.Decisions;

/// <summary>
/// The candidates of one request as columns over one buffer of bytes. Pooled: <see cref="Reset"/> keeps the arrays.
/// </summary>
/// <remarks>
/// Whoever fills it appends bytes to <see cref="Buffer"/> (or hands over a filled one) and adds slices of it to the
/// columns. Every per-candidate column is either absent or as long as <see cref="Ids"/>. Not thread-safe.
/// What a reader fills in place, by reference, is a field.
/// </remarks>
internal sealed class CandidateBatch
{
    private readonly List<TextColumn> _spareTexts = [];
    private readonly List<TensorColumn> _spareTensors = [];
    private readonly List<AttributeColumn> _spareAttributes = [];

    /// <summary>What all slices point into. Rented by the owner of the batch; only its first bytes are meaningful.</summary>
    public byte[] Buffer { get; set; } = [];

    public int Count => Ids.Count;

    public ByteSlice RequestId;
    public ByteSlice Surface;

    /// <summary>As sent; <see cref="EffectivePurpose"/> is what counts.</summary>
    public ByteSlice Purpose;

    public ByteSlice Territory;
    public ByteSlice AgeBand;
    public ByteSlice Experiment;

    /// <summary>Whose data this is; a pseudonym. Never recorded.</summary>
    public ByteSlice Subject;

    public bool ReturnScores;

    /// <summary>The caller's key for this page, the same for every attempt at it; empty when it sent none.</summary>
    public ByteSlice IdempotencyKey;

    /// <summary>0 for the first attempt.</summary>
    public uint Attempt;

    public Utf8Column Ids { get; } = new();

    /// <summary>Absent (count 0) or one per candidate.</summary>
    public Utf8Column ContentVersions { get; } = new();

    /// <summary>Absent (count 0) or one per candidate; BCP 47.</summary>
    public Utf8Column Languages { get; } = new();

    public List<TextColumn> Texts { get; } = [];
    public List<TensorColumn> Tensors { get; } = [];
    public List<AttributeColumn> Attributes { get; } = [];

    public ReadOnlySpan<byte> this[ByteSlice slice] => slice.In(Buffer);

    /// <summary>The purpose in UTF-8; a caller that names none means "recommendation".</summary>
    public ReadOnlySpan<byte> EffectivePurpose => Purpose.IsEmpty ? "recommendation"u8 : this[Purpose];

    public TextColumn AddText() => Add(Texts, _spareTexts);

    public TensorColumn AddTensor() => Add(Tensors, _spareTensors);

    public AttributeColumn AddAttribute() => Add(Attributes, _spareAttributes);

    /// <summary>The text feature of that name, or null.</summary>
    public TextColumn? FindText(ReadOnlySpan<byte> utf8Name)
    {
        foreach (var column in CollectionsMarshal.AsSpan(Texts))
        {
            if (this[column.Name].SequenceEqual(utf8Name))
            {
                return column;
            }
        }

        return null;
    }

    /// <summary>The numeric feature of that name, or null.</summary>
    public TensorColumn? FindTensor(ReadOnlySpan<byte> utf8Name)
    {
        foreach (var column in CollectionsMarshal.AsSpan(Tensors))
        {
            if (this[column.Name].SequenceEqual(utf8Name))
            {
                return column;
            }
        }

        return null;
    }

    /// <summary>The attribute of that name, or null.</summary>
    public AttributeColumn? FindAttribute(ReadOnlySpan<byte> utf8Name)
    {
        foreach (var column in CollectionsMarshal.AsSpan(Attributes))
        {
            if (this[column.Name].SequenceEqual(utf8Name))
            {
                return column;
            }
        }

        return null;
    }

    public void Reset()
    {
        RequestId = Surface = Purpose = Territory = AgeBand = Experiment = Subject = IdempotencyKey = default;
        ReturnScores = false;
        Attempt = 0;
        Ids.Clear();
        ContentVersions.Clear();
        Languages.Clear();
        Recycle(Texts, _spareTexts);
        Recycle(Tensors, _spareTensors);
        Recycle(Attributes, _spareAttributes);
    }

    private static T Add<T>(List<T> used, List<T> spare)
        where T : IColumn, new()
    {
        T column;
        if (spare.Count > 0)
        {
            column = spare[^1];
            spare.RemoveAt(spare.Count - 1);
            column.Reset();
        }
        else
        {
            column = new T();
        }

        used.Add(column);
        return column;
    }

    private static void Recycle<T>(List<T> used, List<T> spare)
    {
        spare.AddRange(used);
        used.Clear();
    }
}

/// <summary>A named column that a batch lends out again after a reset.</summary>
internal interface IColumn
{
    void Reset();
}

/// <summary>A growing list of slices.</summary>
internal sealed class Utf8Column
{
    private ByteSlice[] _slices = [];

    public int Count { get; private set; }

    public ByteSlice this[int index] => _slices[index];

    public ReadOnlySpan<ByteSlice> Slices => _slices.AsSpan(0, Count);

    public void Add(ByteSlice slice)
    {
        if (Count == _slices.Length)
        {
            Array.Resize(ref _slices, Math.Max(64, Count * 2));
        }

        _slices[Count++] = slice;
    }

    public void Clear() => Count = 0;
}

/// <summary>A text feature: one text per candidate, and which candidates have none.</summary>
internal sealed class TextColumn : IColumn
{
    public ByteSlice Name;
    public Utf8Column Values { get; } = new();

    /// <summary>Candidates without the feature; usually empty. Unordered, may repeat.</summary>
    public List<int> Missing { get; } = [];

    public void Reset()
    {
        Name = default;
        Values.Clear();
        Missing.Clear();
    }
}

/// <summary>A numeric feature: rows of one tensor, and which candidates have none.</summary>
internal sealed class TensorColumn : IColumn
{
    public ByteSlice Name;
    public DataType DataType { get; set; }

    /// <summary>The first dimension as sent: the number of candidates.</summary>
    public int Rows { get; set; }

    /// <summary>Dimensions after the first (which is the candidate), at most 3.</summary>
    public List<long> RowShape { get; } = [];

    /// <summary>Numbers per candidate: the product of <see cref="RowShape"/>.</summary>
    public int RowLength { get; set; }

    /// <summary>Where the bytes are: count x RowLength elements, little-endian, row-major.</summary>
    public ByteSlice Data;

    /// <summary>Candidates without the feature; usually empty. Unordered, may repeat.</summary>
    public List<int> Missing { get; } = [];

    public void Reset()
    {
        Name = default;
        RowShape.Clear();
        Data = default;
        Rows = RowLength = 0;
        DataType = default;
        Missing.Clear();
    }
}

internal enum AttributeKind : byte
{
    Strings = 1,
    Numbers = 2,
    Flags = 3,
}

/// <summary>One fact per candidate, in one of three kinds; the list of that kind has one entry per candidate.</summary>
internal sealed class AttributeColumn : IColumn
{
    public ByteSlice Name;
    public AttributeKind Kind { get; set; }
    public Utf8Column Strings { get; } = new();
    public List<double> Numbers { get; } = [];
    public List<bool> Flags { get; } = [];

    public void Reset()
    {
        Name = default;
        Kind = default;
        Strings.Clear();
        Numbers.Clear();
        Flags.Clear();
    }
}
