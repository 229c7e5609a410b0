using System.Buffers;
using System.Runtime.InteropServices;
using System.Text;
using SafetyFilter.Decisions;

namespace SafetyFilter.Tests.Scoring;

/// <summary>Makes a <see cref="CandidateBatch"/> by rows of ordinary values. A null text or row is a missing one.</summary>
internal sealed class BatchBuilder
{
    private readonly CandidateBatch _batch;
    private readonly ArrayBufferWriter<byte> _bytes = new();

    public BatchBuilder(params string[] ids)
        : this(new CandidateBatch(), ids)
    {
    }

    public BatchBuilder(CandidateBatch into, string[] ids)
    {
        _batch = into;
        _batch.RequestId = Append("request-1");
        _batch.Surface = Append("for-you");
        _batch.Purpose = Append("recommendation");
        foreach (var id in ids)
        {
            _batch.Ids.Add(Append(id));
        }
    }

    /// <summary>A batch of that many candidates with the ids "0", "1", ...</summary>
    public static BatchBuilder Of(int count, CandidateBatch? into = null) =>
        new(into ?? new CandidateBatch(), [.. Enumerable.Range(0, count).Select(i => $"{i}")]);

    public BatchBuilder Request(string id = "request-1", string surface = "for-you", string purpose = "recommendation")
    {
        (_batch.RequestId, _batch.Surface, _batch.Purpose) = (Append(id), Append(surface), Append(purpose));
        return this;
    }

    public BatchBuilder Viewer(string territory = "", string ageBand = "", string experiment = "")
    {
        (_batch.Territory, _batch.AgeBand, _batch.Experiment) = (Append(territory), Append(ageBand), Append(experiment));
        return this;
    }

    public BatchBuilder ReturnScores()
    {
        _batch.ReturnScores = true;
        return this;
    }

    public BatchBuilder Versions(params string[] versions) => Fill(_batch.ContentVersions, versions);

    public BatchBuilder Languages(params string[] tags) => Fill(_batch.Languages, tags);

    public BatchBuilder Text(string name, params string?[] texts)
    {
        var column = _batch.AddText();
        column.Name = Append(name);
        for (var row = 0; row < texts.Length; row++)
        {
            column.Values.Add(Append(texts[row] ?? ""));
            if (texts[row] is null)
            {
                column.Missing.Add(row);
            }
        }

        return this;
    }

    /// <summary>A float32 feature of one-dimensional rows, all of one length.</summary>
    public BatchBuilder Tensor(string name, params float[]?[] rows) => Tensor(name, DataType.Float32, [Width(rows)], rows);

    /// <summary>A float16 feature of one-dimensional rows; the numbers are rounded.</summary>
    public BatchBuilder HalfTensor(string name, params float[]?[] rows) => Tensor(name, DataType.Float16, [Width(rows)], rows);

    /// <summary>A feature of any shape. Missing rows hold NaN, as nobody may read them. The data starts at an odd byte.</summary>
    public BatchBuilder Tensor(string name, DataType type, long[] rowShape, params float[]?[] rows)
    {
        var column = _batch.AddTensor();
        column.Name = Append(name);
        column.DataType = type;
        column.Rows = rows.Length;
        column.RowShape.AddRange(rowShape);
        column.RowLength = (int)rowShape.Aggregate(1L, (product, length) => product * length);
        if (_bytes.WrittenCount % 2 == 0)
        {
            Append("\0");
        }

        var start = _bytes.WrittenCount;
        var none = Enumerable.Repeat(float.NaN, column.RowLength).ToArray();
        for (var row = 0; row < rows.Length; row++)
        {
            var numbers = rows[row] ?? none;
            if (type == DataType.Float16)
            {
                _bytes.Write(MemoryMarshal.AsBytes<Half>(Array.ConvertAll(numbers, number => (Half)number)));
            }
            else
            {
                _bytes.Write(MemoryMarshal.AsBytes<float>(numbers));
            }

            if (rows[row] is null)
            {
                column.Missing.Add(row);
            }
        }

        column.Data = new ByteSlice(start, _bytes.WrittenCount - start);
        return this;
    }

    public BatchBuilder Attribute(string name, params string[] values)
    {
        var column = Attribute(name, AttributeKind.Strings);
        Fill(column.Strings, values);
        return this;
    }

    public BatchBuilder Attribute(string name, params double[] values)
    {
        Attribute(name, AttributeKind.Numbers).Numbers.AddRange(values);
        return this;
    }

    public BatchBuilder Attribute(string name, params bool[] values)
    {
        Attribute(name, AttributeKind.Flags).Flags.AddRange(values);
        return this;
    }

    public CandidateBatch Build()
    {
        _batch.Buffer = _bytes.WrittenSpan.ToArray();
        return _batch;
    }

    private static long Width(float[]?[] rows) => rows.FirstOrDefault(row => row is not null)?.Length ?? 1;

    private AttributeColumn Attribute(string name, AttributeKind kind)
    {
        var column = _batch.AddAttribute();
        column.Name = Append(name);
        column.Kind = kind;
        return column;
    }

    private BatchBuilder Fill(Utf8Column column, string[] values)
    {
        foreach (var value in values)
        {
            column.Add(Append(value));
        }

        return this;
    }

    private ByteSlice Append(string text)
    {
        var start = _bytes.WrittenCount;
        return new ByteSlice(start, (int)Encoding.UTF8.GetBytes(text, _bytes));
    }
}
