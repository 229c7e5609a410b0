using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>Frame types of RFC 9113 that a client of unary and streaming gRPC meets.</summary>
internal enum Http2FrameType : byte
{
    Data = 0,
    Headers = 1,
    ResetStream = 3,
    Settings = 4,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
}

/// <summary>The nine bytes before each frame's payload, and what else of HTTP/2 has a form of its own.</summary>
internal readonly record struct Http2Frame(int Length, Http2FrameType Type, byte Flags, int Stream)
{
    public const int HeaderBytes = 9;
    public const byte EndStream = 1;
    public const byte Acknowledges = 1;
    public const byte EndHeaders = 4;
    public const byte Padded = 8;

    public static readonly byte[] Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray();

    public static Http2Frame Read(ReadOnlySpan<byte> header) => new(
        (header[0] << 16) | (header[1] << 8) | header[2],
        (Http2FrameType)header[3],
        header[4],
        BinaryPrimitives.ReadInt32BigEndian(header[5..]) & int.MaxValue);

    public void Write(Span<byte> header)
    {
        header[0] = (byte)(Length >> 16);
        header[1] = (byte)(Length >> 8);
        header[2] = (byte)Length;
        header[3] = (byte)Type;
        header[4] = Flags;
        BinaryPrimitives.WriteInt32BigEndian(header[5..], Stream);
    }

    /// <summary>The header block of a gRPC call: RFC 7541 without its dynamic table and without Huffman codes, the same bytes each time.</summary>
    /// <param name="timeout">As grpc-timeout says it; null for none.</param>
    public static byte[] Headers(string path, string? timeout)
    {
        List<byte> block =
        [
            0x83, // :method POST, by its place in the static table
            0x86, // :scheme http
            0x04, .. Text(path), // :path
            0x01, .. Text("localhost"), // :authority
            0x0F, 0x10, .. Text("application/grpc"), // content-type, place 31
            0x00, .. Text("te"), .. Text("trailers"),
        ];
        if (timeout is not null)
        {
            block.AddRange([0x00, .. Text("grpc-timeout"), .. Text(timeout)]);
        }

        return [.. block];
    }

    /// <summary>The gRPC status in a block of trailers; null when it is not there in plain letters. Servers have been told to use no dynamic table.</summary>
    public static int? StatusIn(ReadOnlySpan<byte> block)
    {
        var name = "grpc-status"u8;
        if (block.IndexOf(name) is not (>= 0 and var at))
        {
            return null;
        }

        var value = block[(at + name.Length)..];
        var length = value.IsEmpty ? 0 : value[0];
        return length is 1 or 2 && value.Length > length && int.TryParse(value.Slice(1, length), NumberStyles.None, CultureInfo.InvariantCulture, out var status) ? status : null;
    }

    private static byte[] Text(string text) => [(byte)text.Length, .. Encoding.ASCII.GetBytes(text)];
}
