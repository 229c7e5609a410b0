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
            if (!wire.TryReadTag(out var field, out var type) || !ReadRequestField(ref wire, field, type))
            {
                return Malformed("FilterRequest", at);
            }
        }

        return true;
    }

    private bool ReadRequestField(ref ProtoReader wire, int field, int type)
    {
        Utf8Slice slice;
        switch (field)
        {
            case 1 when type == ProtoReader.Delimited:
                if (!Text(ref wire, "request_id", 128, out slice))
                {
                    return false;
                }

                _batch.RequestId = slice;
                return true;
            case 2 when type == ProtoReader.Delimited:
                if (!Text(ref wire, "surface", MaxNameBytes, out slice))
                {
                    return false;
                }

                _batch.Surface = slice;
                return true;
            case 3 when type == ProtoReader.Delimited:
                return wire.TryReadDelimited(out slice) && ReadViewer(wire.Nested(slice));
            case 4 when type == ProtoReader.Delimited:
                if (!Text(ref wire, "purpose", MaxNameBytes, out slice))
                {
                    return false;
                }

                _batch.Purpose = slice;
                return true;
            case 5 when type == ProtoReader.Delimited:
                return Append(ref wire, "candidate_ids", _limits.MaxCandidateIdBytes, _batch.Ids);
            case 6 when type == ProtoReader.Delimited:
                return Append(ref wire, "content_versions", 128, _batch.ContentVersions);
            case 7 when type == ProtoReader.Delimited:
                return Append(ref wire, "languages", 35, _batch.Languages);
            case 8 when type == ProtoReader.Delimited:
                return wire.TryReadDelimited(out slice)
                    && Room(_batch.Texts.Count, MaxTextColumns, "texts")
                    && ReadText(wire.Nested(slice), _batch.AddText());
            case 9 when type == ProtoReader.Delimited:
                return wire.TryReadDelimited(out slice)
                    && Room(_batch.Tensors.Count, MaxTensors, "tensors")
                    && ReadTensor(wire.Nested(slice), _batch.AddTensor());
            case 10 when type == ProtoReader.Delimited:
                return wire.TryReadDelimited(out slice)
                    && Room(_batch.Attributes.Count, MaxAttributes, "attributes")
                    && ReadAttribute(wire.Nested(slice), _batch.AddAttribute());
            case 11 when type == ProtoReader.Varint:
                if (!wire.TryReadVarint(out var flag))
                {
                    return false;
                }

                _batch.ReturnScores = flag != 0;
                return true;
            default:
                return wire.TrySkip(field, type);
        }
    }

    private bool ReadViewer(ProtoReader wire)
    {
        while (!wire.AtEnd)
        {
            if (!wire.TryReadTag(out var field, out var type))
            {
                return false;
            }

            Utf8Slice slice;
            switch (field)
            {
                case 1 when type == ProtoReader.Delimited:
                    if (!Text(ref wire, "viewer.territory", 8, out slice))
                    {
                        return false;
                    }

                    _batch.Territory = slice;
                    break;
                case 2 when type == ProtoReader.Delimited:
                    if (!Text(ref wire, "viewer.age_band", 32, out slice))
                    {
                        return false;
                    }

                    _batch.AgeBand = slice;
                    break;
                case 3 when type == ProtoReader.Delimited:
                    if (!Text(ref wire, "viewer.experiment", 64, out slice))
                    {
                        return false;
                    }

                    _batch.Experiment = slice;
                    break;
                default:
                    if (!wire.TrySkip(field, type))
                    {
                        return false;
                    }

                    break;
            }
        }

        return true;
    }

    private bool ReadText(ProtoReader wire, TextColumn column)
    {
        while (!wire.AtEnd)
        {
            if (!wire.TryReadTag(out var field, out var type))
            {
                return false;
            }

            var read = true;
            switch (field)
            {
                case 1 when type == ProtoReader.Delimited:
                    read = Text(ref wire, "texts.name", MaxNameBytes, out var name);
                    column.Name = name;
                    break;
                case 2 when type == ProtoReader.Delimited:
                    read = Append(ref wire, "texts.values", _limits.MaxTextBytes, column.Values);
                    break;
                case 3:
                    read = Indexes(ref wire, type, "texts.missing", column.Missing);
                    break;
                default:
                    read = wire.TrySkip(field, type);
                    break;
            }

            if (!read)
            {
                return false;
            }
        }

        return true;
    }

    private bool ReadTensor(ProtoReader wire, TensorColumn column)
    {
        var dimensions = 0;
        while (!wire.AtEnd)
        {
            if (!wire.TryReadTag(out var field, out var type))
            {
                return false;
            }

            var read = true;
            switch (field)
            {
                case 1 when type == ProtoReader.Delimited:
                    read = Text(ref wire, "tensors.name", MaxNameBytes, out var name);
                    column.Name = name;
                    break;
                case 2 when type == ProtoReader.Varint:
                    read = wire.TryReadVarint(out var dataType);
                    column.DataType = (DataType)(int)dataType;
                    break;
                case 3:
                    read = Shape(ref wire, type, column, ref dimensions);
                    break;
                case 4 when type == ProtoReader.Delimited:
                    read = wire.TryReadDelimited(out var data);
                    column.DataStart = data.Start;
                    column.DataLength = data.Length;
                    break;
                case 5:
                    read = Indexes(ref wire, type, "tensors.missing", column.Missing);
                    break;
                default:
                    read = wire.TrySkip(field, type);
                    break;
            }

            if (!read)
            {
                return false;
            }
        }

        return true;
    }

    private bool ReadAttribute(ProtoReader wire, AttributeColumn column)
    {
        while (!wire.AtEnd)
        {
            if (!wire.TryReadTag(out var field, out var type))
            {
                return false;
            }

            var read = true;
            switch (field)
            {
                case 1 when type == ProtoReader.Delimited:
                    read = Text(ref wire, "attributes.name", MaxNameBytes, out var name);
                    column.Name = name;
                    break;
                case 2 when type == ProtoReader.Delimited:
                    read = Append(ref wire, "attributes.strings", MaxAttributeBytes, column.Strings);
                    break;
                case 3:
                    read = Numbers(ref wire, type, column);
                    break;
                case 4:
                    read = Flags(ref wire, type, column);
                    break;
                default:
                    read = wire.TrySkip(field, type);
                    break;
            }

            if (!read)
            {
                return false;
            }
        }

        return true;
    }

    private bool Text(ref ProtoReader wire, string field, int maxBytes, out Utf8Slice slice)
    {
        if (!wire.TryReadDelimited(out slice))
        {
            return false;
        }

        if (slice.Length > maxBytes)
        {
            return Refuse($"{field} is {slice.Length} bytes long; the limit is {maxBytes}. Send a shorter one.");
        }

        return Utf8.IsValid(_batch[slice]) || Refuse($"{field} is not valid UTF-8. Encode strings as UTF-8.");
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

    private bool Indexes(ref ProtoReader wire, int type, string field, List<int> into)
    {
        if (type == ProtoReader.Varint)
        {
            return Index(ref wire, field, into);
        }

        if (type != ProtoReader.Delimited || !wire.TryReadDelimited(out var slice))
        {
            return false;
        }

        var packed = wire.Nested(slice);
        while (!packed.AtEnd)
        {
            if (!Index(ref packed, field, into))
            {
                return false;
            }
        }

        return true;
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

    private bool Shape(ref ProtoReader wire, int type, TensorColumn column, ref int dimensions)
    {
        if (type == ProtoReader.Varint)
        {
            return Dimension(ref wire, column, ref dimensions);
        }

        if (type != ProtoReader.Delimited || !wire.TryReadDelimited(out var slice))
        {
            return false;
        }

        var packed = wire.Nested(slice);
        while (!packed.AtEnd)
        {
            if (!Dimension(ref packed, column, ref dimensions))
            {
                return false;
            }
        }

        return true;
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

    private bool Numbers(ref ProtoReader wire, int type, AttributeColumn column)
    {
        double value;
        if (type == ProtoReader.Fixed64)
        {
            return wire.TryReadDouble(out value) && Add(column.Numbers, value, "attributes.numbers");
        }

        if (type != ProtoReader.Delimited || !wire.TryReadDelimited(out var slice))
        {
            return false;
        }

        var packed = wire.Nested(slice);
        while (!packed.AtEnd)
        {
            if (!packed.TryReadDouble(out value) || !Add(column.Numbers, value, "attributes.numbers"))
            {
                return false;
            }
        }

        return true;
    }

    private bool Flags(ref ProtoReader wire, int type, AttributeColumn column)
    {
        ulong value;
        if (type == ProtoReader.Varint)
        {
            return wire.TryReadVarint(out value) && Add(column.Flags, value != 0, "attributes.flags");
        }

        if (type != ProtoReader.Delimited || !wire.TryReadDelimited(out var slice))
        {
            return false;
        }

        var packed = wire.Nested(slice);
        while (!packed.AtEnd)
        {
            if (!packed.TryReadVarint(out value) || !Add(column.Flags, value != 0, "attributes.flags"))
            {
                return false;
            }
        }

        return true;
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

    private bool Malformed(string message, int position) =>
        Refuse($"The message is not a {message}: its bytes cannot be read at offset {position}. Encode it from filter.proto.");
}
