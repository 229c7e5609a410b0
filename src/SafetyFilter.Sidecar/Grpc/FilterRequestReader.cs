using System.Text.Unicode;
using SafetyFilter.Decisions;

namespace SafetyFilter.Sidecar.Grpc;

/// <summary>
/// Reads a <c>FilterRequest</c> (filter.proto) into columns without copying. Field numbers are those of filter.proto.
/// </summary>
/// <remarks>
/// The generated parser would make a string per candidate, replace invalid UTF-8 silently and not say where an error
/// was. Whether the columns fit together is for <see cref="FilterRequestRules"/>.
/// </remarks>
internal ref struct FilterRequestReader(CandidateBatch batch, RequestLimits limits)
{
    private const int MaxTextColumns = 8;
    private const int MaxTensors = 16;
    private const int MaxAttributes = 32;
    private const int MaxDimensions = 4;
    private const int MaxNameBytes = 64;
    private const int MaxAttributeBytes = 256;

    private readonly CandidateBatch _batch = batch;
    private readonly RequestLimits _limits = limits;
    private Refusal? _refusal;

    /// <summary>Reads the first <paramref name="length"/> bytes of the batch's buffer. Null when all of it could be read.</summary>
    public static Refusal? Read(CandidateBatch batch, int length, RequestLimits limits)
    {
        var reader = new FilterRequestReader(batch, limits);
        var wire = new ProtoReader(batch.Buffer, 0, length);
        return reader.ReadRequest(ref wire) ? null : reader._refusal;
    }

    private bool ReadRequest(ref ProtoReader wire)
    {
        while (!wire.AtEnd)
        {
            var at = wire.Position;
            if (!(wire.TryReadTag(out var field, out var type) && ReadRequestField(ref wire, field, type)))
            {
                return Malformed(at);
            }
        }

        return true;
    }

    // A field of an unexpected wire type is passed over like an unknown one, as the generated parsers do.
    private bool ReadRequestField(ref ProtoReader wire, int field, int type) => (field, type) switch
    {
        (1, ProtoReader.Delimited) => Text(ref wire, "request_id", 128, out _batch.RequestId),
        (2, ProtoReader.Delimited) => Text(ref wire, "surface", MaxNameBytes, out _batch.Surface),
        (3, ProtoReader.Delimited) => wire.TryReadDelimited(out var slice) && ReadViewer(wire.Nested(slice)),
        (4, ProtoReader.Delimited) => Text(ref wire, "purpose", MaxNameBytes, out _batch.Purpose),
        (5, ProtoReader.Delimited) => Append(ref wire, "candidate_ids", _limits.MaxCandidateIdBytes, _batch.Ids),
        (6, ProtoReader.Delimited) => Append(ref wire, "content_versions", 128, _batch.ContentVersions),
        (7, ProtoReader.Delimited) => Append(ref wire, "languages", 35, _batch.Languages),
        (8, ProtoReader.Delimited) => wire.TryReadDelimited(out var slice)
            && Room(_batch.Texts.Count, MaxTextColumns, "texts")
            && ReadText(wire.Nested(slice), _batch.AddText()),
        (9, ProtoReader.Delimited) => wire.TryReadDelimited(out var slice)
            && Room(_batch.Tensors.Count, MaxTensors, "tensors")
            && ReadTensor(wire.Nested(slice), _batch.AddTensor()),
        (10, ProtoReader.Delimited) => wire.TryReadDelimited(out var slice)
            && Room(_batch.Attributes.Count, MaxAttributes, "attributes")
            && ReadAttribute(wire.Nested(slice), _batch.AddAttribute()),
        (11, ProtoReader.Varint) => wire.TryReadBool(out _batch.ReturnScores),
        (12, ProtoReader.Delimited) => Text(ref wire, "idempotency_key", MaxNameBytes, out _batch.IdempotencyKey),
        (13, ProtoReader.Varint) => ReadAttempt(ref wire),
        _ => wire.TrySkip(field, type),
    };

    private bool ReadAttempt(ref ProtoReader wire)
    {
        var read = wire.TryReadVarint(out var attempt);
        _batch.Attempt = (uint)Math.Min(attempt, uint.MaxValue);
        return read;
    }

    private bool ReadViewer(ProtoReader wire)
    {
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => Text(ref wire, "viewer.territory", 8, out _batch.Territory),
                (2, ProtoReader.Delimited) => Text(ref wire, "viewer.age_band", 32, out _batch.AgeBand),
                (3, ProtoReader.Delimited) => Text(ref wire, "viewer.experiment", 64, out _batch.Experiment),
                (4, ProtoReader.Delimited) => Text(ref wire, "viewer.subject", 64, out _batch.Subject),
                _ => wire.TrySkip(field, type),
            };
        }

        return read;
    }

    private bool ReadText(ProtoReader wire, TextColumn column)
    {
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => Text(ref wire, "texts.name", MaxNameBytes, out column.Name),
                (2, ProtoReader.Delimited) => Append(ref wire, "texts.values", _limits.MaxTextBytes, column.Values),
                (3, ProtoReader.Varint) => Index(ref wire, "texts.missing", column.Missing),
                (3, ProtoReader.Delimited) => Indexes(ref wire, "texts.missing", column.Missing),
                _ => wire.TrySkip(field, type),
            };
        }

        return read;
    }

    private bool ReadTensor(ProtoReader wire, TensorColumn column)
    {
        var dimensions = 0;
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => Text(ref wire, "tensors.name", MaxNameBytes, out column.Name),
                (2, ProtoReader.Varint) => ElementType(ref wire, column),
                (3, ProtoReader.Varint) => Dimension(ref wire, column, ref dimensions),
                (3, ProtoReader.Delimited) => Shape(ref wire, column, ref dimensions),
                (4, ProtoReader.Delimited) => wire.TryReadDelimited(out column.Data),
                (5, ProtoReader.Varint) => Index(ref wire, "tensors.missing", column.Missing),
                (5, ProtoReader.Delimited) => Indexes(ref wire, "tensors.missing", column.Missing),
                _ => wire.TrySkip(field, type),
            };
        }

        return read;
    }

    private bool ReadAttribute(ProtoReader wire, AttributeColumn column)
    {
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => Text(ref wire, "attributes.name", MaxNameBytes, out column.Name),
                (2, ProtoReader.Delimited) => Append(ref wire, "attributes.strings", MaxAttributeBytes, column.Strings),
                (3, ProtoReader.Fixed64) => Number(ref wire, column),
                (3, ProtoReader.Delimited) => Numbers(ref wire, column),
                (4, ProtoReader.Varint) => Flag(ref wire, column),
                (4, ProtoReader.Delimited) => Flags(ref wire, column),
                _ => wire.TrySkip(field, type),
            };
        }

        return read;
    }

    // A refused text is not kept: a stream's error echoes the request id, which then must be one.
    private bool Text(ref ProtoReader wire, string field, int maxBytes, out ByteSlice text)
    {
        text = default;
        if (!wire.TryReadDelimited(out var slice))
        {
            return false;
        }

        if (slice.Length > maxBytes)
        {
            return Refuse($"{field} is {slice.Length} bytes long; the limit is {maxBytes}. Send a shorter one.");
        }

        if (!Utf8.IsValid(_batch[slice]))
        {
            return Refuse($"{field} is not valid UTF-8. Encode strings as UTF-8.");
        }

        text = slice;
        return true;
    }

    private bool Append(ref ProtoReader wire, string field, int maxBytes, Utf8Column column)
    {
        if (!wire.TryReadDelimited(out var slice))
        {
            return false;
        }

        if (column.Count == _limits.MaxCandidates)
        {
            return TooMany(field);
        }

        if (slice.Length > maxBytes)
        {
            return Refuse($"{field}[{column.Count}] is {slice.Length} bytes long; the limit is {maxBytes}. Send a shorter one.");
        }

        if (!Utf8.IsValid(_batch[slice]))
        {
            return Refuse($"{field}[{column.Count}] is not valid UTF-8. Encode strings as UTF-8.");
        }

        column.Add(slice);
        return true;
    }

    private bool Indexes(ref ProtoReader wire, string field, List<int> into)
    {
        var read = wire.TryReadDelimited(out var slice);
        var packed = wire.Nested(slice);
        while (read && !packed.AtEnd)
        {
            read = Index(ref packed, field, into);
        }

        return read;
    }

    private bool Index(ref ProtoReader wire, string field, List<int> into)
    {
        if (!wire.TryReadVarint(out var index))
        {
            return false;
        }

        if (index >= (ulong)_limits.MaxCandidates || into.Count == _limits.MaxCandidates)
        {
            return Refuse($"{field} names candidate {index} in entry {into.Count}; indexes are 0-based, below the number of candidates, each once.");
        }

        into.Add((int)index);
        return true;
    }

    private static bool ElementType(ref ProtoReader wire, TensorColumn column)
    {
        var read = wire.TryReadVarint(out var value);
        column.DataType = (DataType)(int)value;
        return read;
    }

    private bool Shape(ref ProtoReader wire, TensorColumn column, ref int dimensions)
    {
        var read = wire.TryReadDelimited(out var slice);
        var packed = wire.Nested(slice);
        while (read && !packed.AtEnd)
        {
            read = Dimension(ref packed, column, ref dimensions);
        }

        return read;
    }

    private bool Dimension(ref ProtoReader wire, TensorColumn column, ref int dimensions)
    {
        if (!wire.TryReadVarint(out var size))
        {
            return false;
        }

        if (dimensions == MaxDimensions)
        {
            return Refuse($"tensors.shape of '{NameOf(column)}' has more than {MaxDimensions} dimensions. Send at most {MaxDimensions}.");
        }

        if ((long)size < 1 || size > int.MaxValue)
        {
            return Refuse($"tensors.shape[{dimensions}] of '{NameOf(column)}' is {(long)size}; a dimension is 1 to {int.MaxValue}.");
        }

        if (dimensions++ == 0)
        {
            column.Rows = (int)size;
        }
        else
        {
            column.RowShape.Add((int)size);
        }

        return true;
    }

    private bool Number(ref ProtoReader wire, AttributeColumn column) =>
        wire.TryReadDouble(out var value) && Add(column.Numbers, value, "attributes.numbers");

    private bool Numbers(ref ProtoReader wire, AttributeColumn column)
    {
        var read = wire.TryReadDelimited(out var slice);
        var packed = wire.Nested(slice);
        while (read && !packed.AtEnd)
        {
            read = Number(ref packed, column);
        }

        return read;
    }

    private bool Flag(ref ProtoReader wire, AttributeColumn column) =>
        wire.TryReadBool(out var value) && Add(column.Flags, value, "attributes.flags");

    private bool Flags(ref ProtoReader wire, AttributeColumn column)
    {
        var read = wire.TryReadDelimited(out var slice);
        var packed = wire.Nested(slice);
        while (read && !packed.AtEnd)
        {
            read = Flag(ref packed, column);
        }

        return read;
    }

    private bool Add<T>(List<T> column, T value, string field)
    {
        if (column.Count == _limits.MaxCandidates)
        {
            return TooMany(field);
        }

        column.Add(value);
        return true;
    }

    private bool TooMany(string field) => Refuse(
        $"{field} has more than {_limits.MaxCandidates} entries, the most candidates per request. Split the page over several requests.");

    private bool Room(int count, int most, string field) =>
        count < most || Refuse($"{field} has more than {most} columns. Send at most {most}.");

    private readonly string NameOf(TensorColumn column) => column.Name.ToString(_batch.Buffer);

    private bool Refuse(string message)
    {
        _refusal ??= new Refusal(RefusalKind.InvalidArgument, message);
        return false;
    }

    private bool Malformed(int position) => Refuse(
        $"The message is not a FilterRequest: its bytes cannot be read at offset {position}. Encode it from filter.proto.");
}
