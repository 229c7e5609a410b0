using System.Runtime.InteropServices;
using SafetyFilter.Decisions;

namespace SafetyFilter.Audit;

/// <summary>Reads the wire format of a DecisionRecord into a <see cref="RecordedDecision"/>. Field numbers are those of lineage.proto.</summary>
/// <remarks>Fields it does not know are passed over; packed and unpacked columns are both read.</remarks>
internal ref struct RecordedDecisionReader
{
    private const int MaxDimensions = 4;

    private readonly RecordedDecision _into;

    private RecordedDecisionReader(RecordedDecision into)
    {
        _into = into;
    }

    /// <summary>Null when all of it could be read; otherwise what could not.</summary>
    public static string? Read(RecordedDecision into, int start, int end)
    {
        var reader = new RecordedDecisionReader(into);
        var wire = new ProtoReader(into.Batch.Buffer, start, end);
        while (!wire.AtEnd)
        {
            var at = wire.Position;
            if (!(wire.TryReadTag(out var field, out var type) && reader.ReadField(ref wire, field, type)))
            {
                return $"field {field} at byte {at} cannot be read";
            }
        }

        return null;
    }

    private readonly bool ReadField(ref ProtoReader wire, int field, int type)
    {
        var batch = _into.Batch;
        return type switch
        {
            ProtoReader.Delimited => field switch
            {
                1 => wire.TryReadDelimited(out _into.StreamId),
                5 => wire.TryReadDelimited(out _into.TraceId),
                6 => wire.TryReadDelimited(out _into.SpanId),
                7 => wire.TryReadDelimited(out batch.RequestId),
                8 => wire.TryReadDelimited(out _into.Caller),
                9 => wire.TryReadDelimited(out batch.Surface),
                10 => wire.TryReadDelimited(out batch.Territory),
                11 => wire.TryReadDelimited(out batch.AgeBand),
                12 => wire.TryReadDelimited(out batch.Experiment),
                13 => wire.TryReadDelimited(out batch.Purpose),
                14 => wire.TryReadDelimited(out _into.Policy),
                15 => wire.TryReadDelimited(out _into.PolicyRevision),
                16 => wire.TryReadDelimited(out _into.ConfigRevision),
                17 => wire.TryReadDelimited(out _into.Build),
                18 => wire.TryReadDelimited(out var slice) && ReadBundle(wire.Nested(slice)),
                19 => wire.TryReadDelimited(out var slice) && ReadClassifier(wire.Nested(slice)),
                21 => Append(ref wire, batch.Ids),
                22 => Append(ref wire, batch.ContentVersions),
                23 => wire.TryReadDelimited(out _into.InputDigests),
                24 => Floats(ref wire, _into.ScoreCells),
                25 => Bytes(ref wire, _into.Actions),
                26 => Indexes(ref wire, _into.RuleIndexes),
                27 => Bytes(ref wire, _into.Bases),
                28 => Floats(ref wire, _into.Margins),
                29 => wire.TryReadDelimited(out var slice) && ReadAttribute(wire.Nested(slice)),
                30 => wire.TryReadDelimited(out var slice) && ReadRule(wire.Nested(slice)),
                31 => wire.TryReadDelimited(out var slice) && ReadDegradation(wire.Nested(slice)),
                32 => wire.TryReadDelimited(out var slice) && ReadShadow(wire.Nested(slice)),
                36 => Append(ref wire, _into.Masked),
                37 => Append(ref wire, _into.Hashed),
                38 => wire.TryReadDelimited(out _into.HashKeyId),
                39 => wire.TryReadDelimited(out var slice) && ReadSeal(wire.Nested(slice)),
                40 => wire.TryReadDelimited(out var slice) && ReadInputs(wire.Nested(slice)),
                _ => wire.TrySkip(field, type),
            },
            ProtoReader.Varint => field switch
            {
                20 => UInt32(ref wire, out _into.CandidateCount),
                25 => Byte(ref wire, _into.Actions),
                26 => Index(ref wire, _into.RuleIndexes),
                27 => Byte(ref wire, _into.Bases),
                33 => UInt32(ref wire, out _into.BudgetMicros),
                34 => UInt32(ref wire, out _into.EngineMicros),
                35 => wire.TryReadVarint(out _into.LostSinceLast),
                _ => wire.TrySkip(field, type),
            },
            ProtoReader.Fixed64 when field == 3 => wire.TryReadFixed64(out _into.Sequence),
            ProtoReader.Fixed64 when field == 4 => wire.TryReadFixed64(out _into.TimeUnixNanos),
            ProtoReader.Fixed32 when field == 2 => wire.TryReadFixed32(out _into.Epoch),
            ProtoReader.Fixed32 when field == 24 => Float(ref wire, _into.ScoreCells),
            ProtoReader.Fixed32 when field == 28 => Float(ref wire, _into.Margins),
            _ => wire.TrySkip(field, type),
        };
    }

    private readonly bool ReadBundle(ProtoReader wire)
    {
        var bundle = default(RecordedBundle);
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => wire.TryReadDelimited(out bundle.Name),
                (2, ProtoReader.Delimited) => wire.TryReadDelimited(out bundle.Version),
                (3, ProtoReader.Delimited) => wire.TryReadDelimited(out bundle.ModelSha256),
                (4, ProtoReader.Varint) => Enum(ref wire, out bundle.Failure),
                (5, ProtoReader.Varint) => UInt32(ref wire, out bundle.Micros),
                (6, ProtoReader.Varint) => Enum(ref wire, out bundle.Breaker),
                (7, ProtoReader.Delimited) => wire.TryReadDelimited(out bundle.Remembered),
                (8, ProtoReader.Varint) => UInt32(ref wire, out bundle.Parts),
                _ => wire.TrySkip(field, type),
            };
        }

        _into.Bundles.Add(bundle);
        return read;
    }

    private readonly bool ReadClassifier(ProtoReader wire)
    {
        var classifier = default(RecordedClassifier);
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => wire.TryReadDelimited(out classifier.Name),
                (2, ProtoReader.Varint) => Int32(ref wire, out classifier.Bundle),
                (3, ProtoReader.Varint) => Enum(ref wire, out classifier.FailMode),
                _ => wire.TrySkip(field, type),
            };
        }

        _into.Classifiers.Add(classifier);
        return read;
    }

    private readonly bool ReadAttribute(ProtoReader wire)
    {
        var column = _into.Batch.AddAttribute();
        column.Kind = AttributeKind.Strings;
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => wire.TryReadDelimited(out column.Name),
                (2, ProtoReader.Delimited) => Append(ref wire, column.Strings),
                (3, ProtoReader.Delimited) => Numbers(ref wire, column),
                (3, ProtoReader.Fixed64) => Number(ref wire, column),
                (4, ProtoReader.Delimited) => Flags(ref wire, column),
                (4, ProtoReader.Varint) => Flag(ref wire, column),
                _ => wire.TrySkip(field, type),
            };
        }

        return read;
    }

    private readonly bool ReadRule(ProtoReader wire)
    {
        var rule = default(RecordedRule);
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => wire.TryReadDelimited(out rule.Id),
                (2, ProtoReader.Varint) => Enum(ref wire, out rule.Action),
                (3, ProtoReader.Delimited) => wire.TryReadDelimited(out rule.ReasonCode),
                (4, ProtoReader.Varint) => Enum(ref wire, out rule.Severity),
                (5, ProtoReader.Fixed32) => Float(ref wire, out rule.DemoteFactor),
                (6, ProtoReader.Delimited) => wire.TryReadDelimited(out rule.Label),
                (7, ProtoReader.Varint) => Int32(ref wire, out rule.MinimumAge),
                _ => wire.TrySkip(field, type),
            };
        }

        _into.Rules.Add(rule);
        return read;
    }

    private readonly bool ReadDegradation(ProtoReader wire)
    {
        var degradation = default(RecordedDegradation);
        var start = _into.Indexes.Count;
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Varint) => Int32(ref wire, out degradation.Classifier),
                (2, ProtoReader.Varint) => Enum(ref wire, out degradation.Failure),
                (3, ProtoReader.Varint) => Enum(ref wire, out degradation.FailMode),
                (4, ProtoReader.Delimited) => Indexes(ref wire, _into.Indexes),
                (4, ProtoReader.Varint) => Index(ref wire, _into.Indexes),
                _ => wire.TrySkip(field, type),
            };
        }

        degradation.Candidates = new ByteSlice(start, _into.Indexes.Count - start);
        _into.Degradations.Add(degradation);
        return read;
    }

    private readonly bool ReadShadow(ProtoReader wire)
    {
        var shadow = default(RecordedShadow);
        var start = _into.Indexes.Count;
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => wire.TryReadDelimited(out shadow.RuleId),
                (2, ProtoReader.Varint) => Enum(ref wire, out shadow.Action),
                (3, ProtoReader.Delimited) => Indexes(ref wire, _into.Indexes),
                (3, ProtoReader.Varint) => Index(ref wire, _into.Indexes),
                _ => wire.TrySkip(field, type),
            };
        }

        shadow.Candidates = new ByteSlice(start, _into.Indexes.Count - start);
        _into.Shadows.Add(shadow);
        return read;
    }

    private readonly bool ReadSeal(ProtoReader wire)
    {
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => wire.TryReadDelimited(out _into.Seal.KeyId),
                (2, ProtoReader.Delimited) => wire.TryReadDelimited(out _into.Seal.Nonce),
                (3, ProtoReader.Delimited) => wire.TryReadDelimited(out _into.Seal.Ciphertext),
                (4, ProtoReader.Delimited) => Append(ref wire, _into.SealedPaths),
                _ => wire.TrySkip(field, type),
            };
        }

        return read;
    }

    private readonly bool ReadInputs(ProtoReader wire)
    {
        _into.HasInputs = true;
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => wire.TryReadDelimited(out var slice) && ReadText(wire.Nested(slice)),
                (2, ProtoReader.Delimited) => wire.TryReadDelimited(out var slice) && ReadTensor(wire.Nested(slice)),
                _ => wire.TrySkip(field, type),
            };
        }

        return read;
    }

    private readonly bool ReadText(ProtoReader wire)
    {
        var column = _into.Batch.AddText();
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => wire.TryReadDelimited(out column.Name),
                (2, ProtoReader.Delimited) => Append(ref wire, column.Values),
                (3, ProtoReader.Delimited) => Indexes(ref wire, column.Missing),
                (3, ProtoReader.Varint) => Index(ref wire, column.Missing),
                _ => wire.TrySkip(field, type),
            };
        }

        return read;
    }

    private readonly bool ReadTensor(ProtoReader wire)
    {
        var column = _into.Batch.AddTensor();
        var dimensions = 0;
        var read = true;
        while (read && !wire.AtEnd)
        {
            read = wire.TryReadTag(out var field, out var type) && (field, type) switch
            {
                (1, ProtoReader.Delimited) => wire.TryReadDelimited(out column.Name),
                (2, ProtoReader.Varint) => ElementType(ref wire, column),
                (3, ProtoReader.Delimited) => Shape(ref wire, column, ref dimensions),
                (3, ProtoReader.Varint) => Dimension(ref wire, column, ref dimensions),
                (4, ProtoReader.Delimited) => wire.TryReadDelimited(out column.Data),
                (5, ProtoReader.Delimited) => Indexes(ref wire, column.Missing),
                (5, ProtoReader.Varint) => Index(ref wire, column.Missing),
                _ => wire.TrySkip(field, type),
            };
        }

        var length = 1L;
        foreach (var dimension in column.RowShape)
        {
            length = Math.Min(length * dimension, int.MaxValue);
        }

        column.RowLength = (int)length;
        return read;
    }

    private static bool ElementType(ref ProtoReader wire, TensorColumn column)
    {
        var read = wire.TryReadVarint(out var value);
        column.DataType = (DataType)(int)value;
        return read;
    }

    private static bool Shape(ref ProtoReader wire, TensorColumn column, ref int dimensions)
    {
        var read = wire.TryReadDelimited(out var slice);
        var packed = wire.Nested(slice);
        while (read && !packed.AtEnd)
        {
            read = Dimension(ref packed, column, ref dimensions);
        }

        return read;
    }

    private static bool Dimension(ref ProtoReader wire, TensorColumn column, ref int dimensions)
    {
        if (!wire.TryReadVarint(out var size) || size > int.MaxValue || dimensions == MaxDimensions)
        {
            return false;
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

    private static bool Append(ref ProtoReader wire, Utf8Column column)
    {
        var read = wire.TryReadDelimited(out var slice);
        column.Add(slice);
        return read;
    }

    private static bool Append(ref ProtoReader wire, List<ByteSlice> column)
    {
        var read = wire.TryReadDelimited(out var slice);
        column.Add(slice);
        return read;
    }

    private readonly bool Floats(ref ProtoReader wire, List<float> column)
    {
        if (!wire.TryReadDelimited(out var slice) || slice.Length % sizeof(float) != 0)
        {
            return false;
        }

        var from = column.Count;
        CollectionsMarshal.SetCount(column, from + slice.Length / sizeof(float));
        _into[slice].CopyTo(MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(column)[from..]));
        return true;
    }

    private static bool Float(ref ProtoReader wire, List<float> column)
    {
        var read = Float(ref wire, out var value);
        column.Add(value);
        return read;
    }

    private static bool Float(ref ProtoReader wire, out float value)
    {
        var read = wire.TryReadFixed32(out var bits);
        value = BitConverter.UInt32BitsToSingle(bits);
        return read;
    }

    private readonly bool Numbers(ref ProtoReader wire, AttributeColumn column)
    {
        if (!wire.TryReadDelimited(out var slice) || slice.Length % sizeof(double) != 0)
        {
            return false;
        }

        column.Kind = AttributeKind.Numbers;
        var from = column.Numbers.Count;
        CollectionsMarshal.SetCount(column.Numbers, from + slice.Length / sizeof(double));
        _into[slice].CopyTo(MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(column.Numbers)[from..]));
        return true;
    }

    private static bool Number(ref ProtoReader wire, AttributeColumn column)
    {
        var read = wire.TryReadDouble(out var value);
        column.Kind = AttributeKind.Numbers;
        column.Numbers.Add(value);
        return read;
    }

    private static bool Flags(ref ProtoReader wire, AttributeColumn column)
    {
        var read = wire.TryReadDelimited(out var slice);
        var packed = wire.Nested(slice);
        column.Kind = AttributeKind.Flags;
        while (read && !packed.AtEnd)
        {
            read = Flag(ref packed, column);
        }

        return read;
    }

    private static bool Flag(ref ProtoReader wire, AttributeColumn column)
    {
        var read = wire.TryReadBool(out var value);
        column.Kind = AttributeKind.Flags;
        column.Flags.Add(value);
        return read;
    }

    // Enums of this record are below 128: a packed column of them is a byte each.
    private readonly bool Bytes<T>(ref ProtoReader wire, List<T> column)
        where T : unmanaged, Enum
    {
        if (!wire.TryReadDelimited(out var slice) || _into[slice].ContainsAnyInRange((byte)0x80, byte.MaxValue))
        {
            return false;
        }

        var from = column.Count;
        CollectionsMarshal.SetCount(column, from + slice.Length);
        _into[slice].CopyTo(MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(column)[from..]));
        return true;
    }

    private static bool Byte<T>(ref ProtoReader wire, List<T> column)
        where T : unmanaged, Enum
    {
        var read = Enum<T>(ref wire, out var value);
        column.Add(value);
        return read;
    }

    private static bool Indexes(ref ProtoReader wire, List<uint> column)
    {
        var read = wire.TryReadDelimited(out var slice);
        var packed = wire.Nested(slice);
        while (read && !packed.AtEnd)
        {
            read = Index(ref packed, column);
        }

        return read;
    }

    private static bool Index(ref ProtoReader wire, List<uint> column)
    {
        var read = UInt32(ref wire, out var value);
        column.Add(value);
        return read;
    }

    private static bool Indexes(ref ProtoReader wire, List<int> column)
    {
        var read = wire.TryReadDelimited(out var slice);
        var packed = wire.Nested(slice);
        while (read && !packed.AtEnd)
        {
            read = Index(ref packed, column);
        }

        return read;
    }

    private static bool Index(ref ProtoReader wire, List<int> column)
    {
        var read = Int32(ref wire, out var value);
        column.Add(value);
        return read;
    }

    private static bool UInt32(ref ProtoReader wire, out uint value)
    {
        var read = wire.TryReadVarint(out var number) && number <= uint.MaxValue;
        value = (uint)number;
        return read;
    }

    private static bool Int32(ref ProtoReader wire, out int value)
    {
        var read = wire.TryReadVarint(out var number) && number <= int.MaxValue;
        value = (int)number;
        return read;
    }

    private static bool Enum<T>(ref ProtoReader wire, out T value)
        where T : unmanaged, Enum
    {
        var read = wire.TryReadVarint(out var number) && number <= byte.MaxValue;
        var one = (byte)number;
        value = System.Runtime.CompilerServices.Unsafe.As<byte, T>(ref one);
        return read;
    }
}
