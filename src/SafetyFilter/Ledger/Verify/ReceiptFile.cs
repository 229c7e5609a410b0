using System.Text;
using System.Text.Json;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Ledger.Verify;

/// <summary>
/// Reads receipts as a ranker logs them: one JSON object a line, <c>{"stream":…,"epoch":…,"sequence":…,"leaf_hash":…}</c>, or the
/// protobuf JSON of a Receipt (<c>streamId</c>, <c>leafHash</c>), alone or as <c>receipt</c> of an answer. Hashes and ids are hexadecimal or base64.
/// </summary>
internal static class ReceiptFile
{
    /// <summary>Null when all lines were read; otherwise what is wrong, with file and line.</summary>
    public static string? Load(string path, ReceiptBook book)
    {
        try
        {
            var number = 0;
            foreach (var line in File.ReadLines(path))
            {
                number++;
                if (!string.IsNullOrWhiteSpace(line) && !TryRead(Encoding.UTF8.GetBytes(line), book))
                {
                    return $"'{path}' line {number} is no receipt: it needs stream, epoch, sequence and leaf_hash as one JSON object.";
                }
            }

            return null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return $"'{path}' cannot be read: {error.Message}";
        }
    }

    private static bool TryRead(ReadOnlySpan<byte> line, ReceiptBook book)
    {
        Span<byte> stream = stackalloc byte[16];
        Span<byte> leaf = stackalloc byte[TreeHash.Length];
        ulong epoch = 0;
        ulong sequence = 0;
        var found = 0;
        try
        {
            var json = new Utf8JsonReader(line);
            while (json.Read())
            {
                if (json.TokenType != JsonTokenType.PropertyName)
                {
                    continue;
                }

                if (json.ValueTextEquals("stream"u8) || json.ValueTextEquals("stream_id"u8) || json.ValueTextEquals("streamId"u8))
                {
                    found |= Next(ref json) && ReadBytes(json, stream) ? 1 : 0;
                }
                else if (json.ValueTextEquals("epoch"u8))
                {
                    found |= Next(ref json) && ReadNumber(json, out epoch) ? 2 : 0;
                }
                else if (json.ValueTextEquals("sequence"u8))
                {
                    found |= Next(ref json) && ReadNumber(json, out sequence) ? 4 : 0;
                }
                else if (json.ValueTextEquals("leaf_hash"u8) || json.ValueTextEquals("leafHash"u8))
                {
                    found |= Next(ref json) && ReadBytes(json, leaf) ? 8 : 0;
                }
            }
        }
        catch (JsonException)
        {
            return false;
        }

        if (found != 15 || epoch is 0 or > uint.MaxValue || sequence == 0)
        {
            return false;
        }

        book.Add(new Guid(stream, bigEndian: true), (uint)epoch, sequence, TreeHash.Read(leaf));
        return true;
    }

    private static bool Next(ref Utf8JsonReader json) => json.Read() && json.TokenType is JsonTokenType.String or JsonTokenType.Number;

    private static bool ReadNumber(in Utf8JsonReader json, out ulong value)
    {
        value = 0;
        return json.TokenType == JsonTokenType.Number ? json.TryGetUInt64(out value) : ulong.TryParse(json.ValueSpan, out value);
    }

    private static bool ReadBytes(in Utf8JsonReader json, Span<byte> bytes)
    {
        if (json.TokenType != JsonTokenType.String || json.HasValueSequence)
        {
            return false;
        }

        var text = json.GetString()!;
        if (text.Length == 36 && bytes.Length == 16 && Guid.TryParse(text, out var id))
        {
            return id.TryWriteBytes(bytes, bigEndian: true, out _);
        }

        return text.Length == bytes.Length * 2
            ? Convert.FromHexString(text, bytes, out _, out _) == System.Buffers.OperationStatus.Done
            : Convert.TryFromBase64String(text, bytes, out var length) && length == bytes.Length;
    }
}
