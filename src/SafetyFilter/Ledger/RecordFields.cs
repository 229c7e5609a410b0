using System.Buffers.Binary;

namespace SafetyFilter.Ledger;

/// <summary>What every record of lineage.proto has in common, read from its bytes without decoding the rest.</summary>
internal struct RecordFields
{
    public Guid StreamId;
    public uint Epoch;
    public ulong Sequence;
    public ulong TimeUnixNanos;

    /// <summary>Field 20 of a DecisionRecord.</summary>
    public ulong CandidateCount;

    /// <summary>Field 35 of a DecisionRecord.</summary>
    public ulong LostSinceLast;

    private const int Varint = 0;
    private const int Fixed64 = 1;
    private const int Bytes = 2;
    private const int Fixed32 = 5;

    /// <summary>False when the bytes are no protobuf message or lack a part of the identity.</summary>
    public static bool TryRead(ReadOnlySpan<byte> record, out RecordFields fields)
    {
        fields = default;
        var rest = record;
        while (rest.Length > 0)
        {
            if (!TryReadVarint(ref rest, out var tag))
            {
                return false;
            }

            var number = tag >> 3;
            switch ((int)(tag & 7))
            {
                case Varint when TryReadVarint(ref rest, out var value):
                    fields.Set(number, value);
                    break;
                case Fixed64 when rest.Length >= 8:
                    fields.Set(number, BinaryPrimitives.ReadUInt64LittleEndian(rest));
                    rest = rest[8..];
                    break;
                case Fixed32 when rest.Length >= 4:
                    fields.Set(number, BinaryPrimitives.ReadUInt32LittleEndian(rest));
                    rest = rest[4..];
                    break;
                case Bytes when TryReadVarint(ref rest, out var length) && length <= (ulong)rest.Length:
                    if (number == 1 && length == 16)
                    {
                        fields.StreamId = new Guid(rest[..16], bigEndian: true);
                    }

                    rest = rest[(int)length..];
                    break;
                default:
                    return false;
            }
        }

        return fields.StreamId != Guid.Empty && fields.Epoch != 0 && fields.Sequence != 0;
    }

    /// <summary>The sequence of a record that a spool made: its last 8 bytes.</summary>
    public static ulong Trailer(ReadOnlySpan<byte> record) => BinaryPrimitives.ReadUInt64LittleEndian(record[^sizeof(ulong)..]);

    private void Set(ulong number, ulong value)
    {
        switch (number)
        {
            case 2:
                Epoch = (uint)value;
                break;
            case 3:
                Sequence = value;
                break;
            case 4:
                TimeUnixNanos = value;
                break;
            case 20:
                CandidateCount = value;
                break;
            case 35:
                LostSinceLast = value;
                break;
        }
    }

    private static bool TryReadVarint(ref ReadOnlySpan<byte> rest, out ulong value)
    {
        value = 0;
        for (var shift = 0; shift < 64 && rest.Length > 0; shift += 7)
        {
            var one = rest[0];
            rest = rest[1..];
            value |= (ulong)(one & 0x7F) << shift;
            if (one < 0x80)
            {
                return true;
            }
        }

        return false;
    }
}
