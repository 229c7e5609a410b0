using System.Buffers.Binary;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using SafetyFilter.Decisions;

namespace SafetyFilter.Scoring;

/// <summary>Identifies what each candidate was scored on, for the record's <c>input_digests</c>.</summary>
/// <remarks>
/// A candidate's digest is XXH3-128 (seed 0, big-endian, 16 bytes) over its features, one after the other, ordered by the bytes of
/// their names (a text before a tensor of the same name). A feature is framed so that no two inputs share a byte sequence:
/// <code>
/// kind    1 byte    1 text, 2 float32 tensor, 3 float16 tensor
/// name    4 bytes   its length in bytes, unsigned little-endian; then its UTF-8
/// shape   4 bytes   tensors only: the number of dimensions of one candidate's row; then 8 bytes for each, all little-endian
/// value   4 bytes   its length in bytes, unsigned little-endian; then the text's UTF-8 or the row's bytes as they were sent
/// </code>
/// A feature that the candidate lacks adds nothing, as if the request had not carried it; an empty text does. Ids, versions,
/// languages and attributes are no inputs of models and stay out. It is no cryptographic commitment.
/// </remarks>
internal static class InputDigest
{
    public const int Size = 16;

    [ThreadStatic]
    private static Workspace? _workspace;

    /// <summary>Writes <see cref="Size"/> bytes per candidate, in their order.</summary>
    public static void Compute(CandidateBatch batch, Span<byte> digests) =>
        (_workspace ??= new Workspace()).Compute(batch, digests[..(batch.Count * Size)]);

    // What a computation needs, kept per thread so that it allocates nothing.
    private sealed class Workspace
    {
        private const int MostKept = 128 << 10;

        private Column[] _columns = [];

        // A candidate's framed features one after the other: hashed in one call, which costs a third of feeding the pieces to a hasher.
        private byte[] _framed = [];
        private byte[] _headers = [];
        private ulong[] _missing = [];
        private int _headerBytes;

        public void Compute(CandidateBatch batch, Span<byte> digests)
        {
            var count = Prepare(batch);
            var words = Bitmap.Words(batch.Count);
            for (var row = 0; row < batch.Count; row++)
            {
                var used = 0;
                for (var i = 0; i < count; i++)
                {
                    if (!Bitmap.Get(_missing.AsSpan(i * words, words), row))
                    {
                        used = Frame(_columns[i], _columns[i].Value(batch, row), used);
                    }
                }

                XxHash128.Hash(_framed.AsSpan(0, used), digests.Slice(row * Size, Size));
            }

            // The batch goes back to its pool: do not hold its columns. Nor does every thread keep room for the largest input there ever was.
            _columns.AsSpan(0, count).Clear();
            if (_framed.Length > MostKept)
            {
                _framed = [];
            }
        }

        private int Frame(in Column column, ReadOnlySpan<byte> value, int used)
        {
            var length = column.HeaderLength + 4 + value.Length;
            if (_framed.Length - used < length)
            {
                Array.Resize(ref _framed, Math.Max(1024, (used + length) * 2));
            }

            var framed = _framed.AsSpan(used, length);
            _headers.AsSpan(column.HeaderStart, column.HeaderLength).CopyTo(framed);
            BinaryPrimitives.WriteInt32LittleEndian(framed[column.HeaderLength..], value.Length);
            value.CopyTo(framed[(column.HeaderLength + 4)..]);
            return used + length;
        }

        // Sorts the columns by name, writes their headers and turns their lists of missing candidates into bits.
        private int Prepare(CandidateBatch batch)
        {
            var count = batch.Texts.Count + batch.Tensors.Count;
            var words = Bitmap.Words(batch.Count);
            if (_columns.Length < count)
            {
                _columns = new Column[count];
            }

            if (_missing.Length < count * words)
            {
                _missing = new ulong[count * words];
            }

            var used = 0;
            foreach (var text in CollectionsMarshal.AsSpan(batch.Texts))
            {
                Insert(batch, new Column(text, null), used++);
            }

            foreach (var tensor in CollectionsMarshal.AsSpan(batch.Tensors))
            {
                Insert(batch, new Column(null, tensor), used++);
            }

            _headerBytes = 0;
            for (var i = 0; i < count; i++)
            {
                WriteHeader(batch, ref _columns[i]);
                var bits = _missing.AsSpan(i * words, words);
                bits.Clear();
                foreach (var row in CollectionsMarshal.AsSpan(_columns[i].Missing))
                {
                    Bitmap.Set(bits, row);
                }
            }

            return count;
        }

        // Insertion sort: a request has a handful of columns, and equal names must keep texts first.
        private void Insert(CandidateBatch batch, Column column, int used)
        {
            while (used > 0 && batch[_columns[used - 1].Name].SequenceCompareTo(batch[column.Name]) > 0)
            {
                _columns[used] = _columns[used - 1];
                used--;
            }

            _columns[used] = column;
        }

        private void WriteHeader(CandidateBatch batch, ref Column column)
        {
            var name = batch[column.Name];
            var length = 1 + 4 + name.Length + (column.Tensor is { } shaped ? 4 + shaped.RowShape.Count * 8 : 0);
            if (_headers.Length < _headerBytes + length)
            {
                Array.Resize(ref _headers, Math.Max(1024, (_headerBytes + length) * 2));
            }

            column.HeaderStart = _headerBytes;
            column.HeaderLength = length;
            _headerBytes += length;
            var header = _headers.AsSpan(column.HeaderStart, length);
            header[0] = column.Tensor?.DataType switch { null => 1, DataType.Float32 => 2, _ => 3 };
            BinaryPrimitives.WriteInt32LittleEndian(header[1..], name.Length);
            name.CopyTo(header[5..]);
            if (column.Tensor is { } tensor)
            {
                header = header[(5 + name.Length)..];
                BinaryPrimitives.WriteInt32LittleEndian(header, tensor.RowShape.Count);
                for (var i = 0; i < tensor.RowShape.Count; i++)
                {
                    BinaryPrimitives.WriteInt64LittleEndian(header[(4 + i * 8)..], tensor.RowShape[i]);
                }
            }
        }
    }

    private struct Column(TextColumn? text, TensorColumn? tensor)
    {
        public readonly TensorColumn? Tensor => tensor;

        public readonly ByteSlice Name => text?.Name ?? tensor!.Name;

        public readonly List<int> Missing => text?.Missing ?? tensor!.Missing;

        public int HeaderStart { get; set; }

        public int HeaderLength { get; set; }

        public readonly ReadOnlySpan<byte> Value(CandidateBatch batch, int row)
        {
            if (text is not null)
            {
                return batch[text.Values[row]];
            }

            var bytes = tensor!.RowLength * (tensor.DataType == DataType.Float32 ? 4 : 2);
            return batch.Buffer.AsSpan(tensor.Data.Start + row * bytes, bytes);
        }
    }
}
