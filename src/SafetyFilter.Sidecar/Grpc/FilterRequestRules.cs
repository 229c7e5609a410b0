using System.Globalization;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using SafetyFilter.Decisions;

namespace SafetyFilter.Sidecar.Grpc;

/// <summary>What a request that could be read must also hold to: columns fit the candidates, tensors fit their shapes.</summary>
internal static class FilterRequestRules
{
    /// <summary>Null when the batch is consistent; otherwise the first thing that is not, for the caller to mend.</summary>
    public static Refusal? Check(CandidateBatch batch) =>
        CheckHead(batch)
        ?? CheckIds(batch)
        ?? CheckOptional("content_versions", batch.ContentVersions, batch.Count)
        ?? CheckOptional("languages", batch.Languages, batch.Count)
        ?? CheckTexts(batch)
        ?? CheckTensors(batch)
        ?? CheckAttributes(batch);

    private static Refusal? CheckHead(CandidateBatch batch)
    {
        if (batch.RequestId.IsEmpty)
        {
            return Refuse("request_id is empty. Send 1 to 128 bytes that name this request.");
        }

        return batch.Surface.IsEmpty ? Refuse("surface is empty. Send the surface that the recommendations show on, such as 'for-you'.") : null;
    }

    private static Refusal? CheckIds(CandidateBatch batch)
    {
        if (batch.Count == 0)
        {
            return Refuse("candidate_ids is empty. Send at least one candidate.");
        }

        for (var i = 0; i < batch.Count; i++)
        {
            if (batch.Ids[i].IsEmpty)
            {
                return Refuse($"candidate_ids[{i}] is empty. Send an id of at least one byte.");
            }
        }

        return null;
    }

    private static Refusal? CheckTexts(CandidateBatch batch)
    {
        for (var i = 0; i < batch.Texts.Count; i++)
        {
            var column = batch.Texts[i];
            if (column.Name.IsEmpty)
            {
                return Refuse($"texts[{i}].name is empty. Send the feature's name, such as 'text'.");
            }

            if (batch.FindText(batch[column.Name]) != column)
            {
                return Refuse($"texts has two columns named '{Name(batch, column.Name)}'. Send each feature once.");
            }

            if (column.Values.Count != batch.Count)
            {
                return Refuse(
                    $"texts['{Name(batch, column.Name)}'].values has {column.Values.Count} entries, but there are {batch.Count} candidates. Send one per candidate.");
            }

            if (CheckMissing("texts", batch, column.Name, column.Missing) is { } refusal)
            {
                return refusal;
            }
        }

        return null;
    }

    private static Refusal? CheckTensors(CandidateBatch batch)
    {
        for (var i = 0; i < batch.Tensors.Count; i++)
        {
            var column = batch.Tensors[i];
            if (column.Name.IsEmpty)
            {
                return Refuse($"tensors[{i}].name is empty. Send the feature's name, such as 'embedding'.");
            }

            if (batch.FindTensor(batch[column.Name]) != column)
            {
                return Refuse($"tensors has two columns named '{Name(batch, column.Name)}'. Send each feature once.");
            }

            if (CheckTensor(batch, column) is { } refusal)
            {
                return refusal;
            }
        }

        return null;
    }

    private static Refusal? CheckTensor(CandidateBatch batch, TensorColumn column)
    {
        var size = column.DataType switch
        {
            DataType.Float32 => 4,
            DataType.Float16 => 2,
            _ => 0,
        };
        if (size == 0)
        {
            return Refuse(
                $"tensors['{Name(batch, column.Name)}'].dtype is {(int)column.DataType}, which is unknown. Send DATA_TYPE_FLOAT32 (1) or DATA_TYPE_FLOAT16 (2).");
        }

        if (column.Rows != batch.Count)
        {
            return Refuse(
                $"tensors['{Name(batch, column.Name)}'].shape[0] is {column.Rows}, but there are {batch.Count} candidates. Send one row per candidate.");
        }

        var rowLength = 1L;
        foreach (var dimension in column.RowShape)
        {
            // Dimensions are below 2^31 and the product is cut off at 2^31, so it cannot overflow.
            rowLength = Math.Min(rowLength * dimension, int.MaxValue);
        }

        if (column.Data.Length != rowLength * column.Rows * size)
        {
            return Refuse(
                $"tensors['{Name(batch, column.Name)}'].data has {column.Data.Length} bytes; shape [{column.Rows}, {string.Join(", ", column.RowShape)}] of {column.DataType} takes {rowLength * column.Rows * size}. Send the numbers row by row, little-endian.");
        }

        column.RowLength = (int)rowLength;
        return CheckMissing("tensors", batch, column.Name, column.Missing) ?? CheckFinite(batch, column);
    }

    private static Refusal? CheckFinite(CandidateBatch batch, TensorColumn column)
    {
        var data = batch.Buffer.AsSpan(column.Data.Start, column.Data.Length);
        var finite = column.DataType == DataType.Float32
            ? TensorPrimitives.IsFiniteAll<float>(MemoryMarshal.Cast<byte, float>(data))
            : TensorPrimitives.IsFiniteAll<Half>(MemoryMarshal.Cast<byte, Half>(data));
        return finite ? null : FindNotFinite(batch, column, data);
    }

    private static Refusal? FindNotFinite(CandidateBatch batch, TensorColumn column, ReadOnlySpan<byte> data)
    {
        Span<ulong> missing = new ulong[Bitmap.Words(batch.Count)];
        foreach (var index in column.Missing)
        {
            Bitmap.Set(missing, index);
        }

        for (var row = 0; row < column.Rows; row++)
        {
            if (!Bitmap.Get(missing, row) && FindNotFinite(column, data, row) is { } found)
            {
                return Refuse(string.Create(
                    CultureInfo.InvariantCulture,
                    $"tensors['{Name(batch, column.Name)}'] has {found.Value} for candidate {row}, element {found.Element}. Send finite numbers, or name the candidate in 'missing'."));
            }
        }

        return null;
    }

    private static (float Value, int Element)? FindNotFinite(TensorColumn column, ReadOnlySpan<byte> data, int row)
    {
        for (var element = 0; element < column.RowLength; element++)
        {
            var at = row * column.RowLength + element;
            var value = column.DataType == DataType.Float32
                ? MemoryMarshal.Cast<byte, float>(data)[at]
                : (float)MemoryMarshal.Cast<byte, Half>(data)[at];
            if (!float.IsFinite(value))
            {
                return (value, element);
            }
        }

        return null;
    }

    private static Refusal? CheckAttributes(CandidateBatch batch)
    {
        for (var i = 0; i < batch.Attributes.Count; i++)
        {
            var column = batch.Attributes[i];
            if (column.Name.IsEmpty)
            {
                return Refuse($"attributes[{i}].name is empty. Send the attribute's name as policies say it.");
            }

            if (batch.FindAttribute(batch[column.Name]) != column)
            {
                return Refuse($"attributes has two columns named '{Name(batch, column.Name)}'. Send each attribute once.");
            }

            var kinds = (column.Strings.Count > 0 ? 1 : 0) + (column.Numbers.Count > 0 ? 1 : 0) + (column.Flags.Count > 0 ? 1 : 0);
            if (kinds != 1)
            {
                return Refuse($"attributes['{Name(batch, column.Name)}'] fills {kinds} of strings, numbers and flags. Fill exactly one.");
            }

            column.Kind = column.Strings.Count > 0 ? AttributeKind.Strings : column.Numbers.Count > 0 ? AttributeKind.Numbers : AttributeKind.Flags;
            var length = column.Strings.Count + column.Numbers.Count + column.Flags.Count;
            if (length != batch.Count)
            {
                return Refuse(
                    $"attributes['{Name(batch, column.Name)}'] has {length} entries, but there are {batch.Count} candidates. Send one per candidate.");
            }
        }

        return null;
    }

    private static Refusal? CheckOptional(string field, Utf8Column column, int count) =>
        column.Count == count || column.Count == 0
            ? null
            : Refuse($"{field} has {column.Count} entries, but there are {count} candidates. Send one per candidate, or none.");

    private static Refusal? CheckMissing(string field, CandidateBatch batch, ByteSlice name, List<int> missing)
    {
        foreach (var index in missing)
        {
            if (index >= batch.Count)
            {
                return Refuse(
                    $"{field}['{Name(batch, name)}'].missing names candidate {index}, but there are {batch.Count} candidates. Indexes are 0-based.");
            }
        }

        return null;
    }

    private static string Name(CandidateBatch batch, ByteSlice name) => name.ToString(batch.Buffer);

    private static Refusal Refuse(string message) => new(RefusalKind.InvalidArgument, message);
}
