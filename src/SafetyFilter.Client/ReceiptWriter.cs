using System.Globalization;
using System.Text.Unicode;

namespace SafetyFilter.Client;

/// <summary>Keeps receipts as <c>safetyfilter audit verify --receipts FILE</c> reads them: one JSON object a line.</summary>
/// <remarks>
/// Thread-safe, one lock round a buffered write; <see cref="Dispose"/> and <see cref="Flush"/> hand the buffer to the operating
/// system. Answers without a record (<see cref="FilterResult.IsLocal"/>, <see cref="LedgerReceipt.IsLost"/>) are left out.
/// </remarks>
public sealed class ReceiptWriter : IDisposable
{
    // Keys, a UUID, two numbers and 64 hexadecimal digits are 197 bytes at most.
    private const int MaxLineBytes = 256;

    private readonly Lock _gate = new();
    private readonly Stream _stream;
    private readonly byte[] _line = new byte[MaxLineBytes];

    /// <summary>Appends to a file, which is made if it is not there.</summary>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    public ReceiptWriter(string path)
        : this(new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read, bufferSize: 64 * 1024))
    {
    }

    /// <summary>Writes to a stream, which it owns.</summary>
    public ReceiptWriter(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        _stream = stream;
    }

    /// <summary>Appends the answer's receipt. Returns false when it has none.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    public bool Add(FilterResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        var receipt = result.Receipt;
        if (receipt.Sequence == 0 || receipt.LeafHash.Length != 32)
        {
            return false;
        }

        lock (_gate)
        {
            if (!Utf8.TryWrite(
                _line, CultureInfo.InvariantCulture, $"{{\"stream\":\"{receipt.StreamId}\",\"epoch\":{receipt.Epoch},\"sequence\":{receipt.Sequence},\"leaf_hash\":\"", out var length))
            {
                throw new InvalidOperationException("A receipt is longer than a receipt can be.");
            }

            Convert.TryToHexStringLower(receipt.LeafHash.Span, _line.AsSpan(length), out var digits);
            length += digits;
            "\"}\n"u8.CopyTo(_line.AsSpan(length));
            _stream.Write(_line, 0, length + 3);
        }

        return true;
    }

    /// <summary>Hands what is buffered to the operating system.</summary>
    public void Flush()
    {
        lock (_gate)
        {
            _stream.Flush();
        }
    }

    /// <summary>Flushes and closes.</summary>
    public void Dispose() => _stream.Dispose();
}
