using System.Runtime.InteropServices;
using System.Text;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Decisions;

namespace SafetyFilter.Benchmarks.Cache;

/// <summary>
/// Pages of 256 candidates drawn by Zipf's law (exponent 1) from 50,000 contents, each with a version, a caption of about sixty characters
/// and an embedding of 128 numbers. The same for the same seed.
/// </summary>
internal sealed class ZipfPages(ulong seed)
{
    public const int Contents = 50_000;
    public const int Candidates = 256;

    private const int Width = 128;

    private static readonly Zipf Law = new(Contents, 1.0);
    private static readonly string[] Words =
        ["quiet", "walks", "in", "the", "Alps", "how", "to", "prune", "roses", "ten", "minute", "soup", "a", "winner", "free", "chess", "opening", "for", "beginners", "you"];

    private readonly byte[][] _captions = [.. Enumerable.Range(0, Contents).Select(content => Encoding.UTF8.GetBytes(Caption(SplitMix64.For(seed, (ulong)content))))];
    private readonly float[] _embeddings = Embeddings(seed);
    private SplitMix64 _random = SplitMix64.For(seed, Contents);

    /// <summary>Makes the next page of a surface.</summary>
    public void Fill(Decision decision, string surface, bool text, bool embedding)
    {
        var batch = decision.Batch;
        batch.Reset();
        var bytes = new List<byte>(1 << 18);
        batch.RequestId = Append(bytes, "request-1"u8);
        batch.Surface = Append(bytes, Encoding.UTF8.GetBytes(surface));
        var contents = new int[Candidates];
        for (var i = 0; i < Candidates; i++)
        {
            contents[i] = Law.Sample(ref _random);
            batch.Ids.Add(Append(bytes, Encoding.UTF8.GetBytes($"video:{contents[i]:D8}")));
            batch.ContentVersions.Add(Append(bytes, Encoding.UTF8.GetBytes($"v{contents[i] % 9}")));
        }

        if (text)
        {
            var column = batch.AddText();
            column.Name = Append(bytes, "text"u8);
            foreach (var content in contents)
            {
                column.Values.Add(Append(bytes, _captions[content]));
            }
        }

        if (embedding)
        {
            var column = batch.AddTensor();
            column.Name = Append(bytes, "embedding"u8);
            (column.DataType, column.Rows, column.RowLength) = (DataType.Float32, Candidates, Width);
            column.RowShape.Add(Width);
            var start = bytes.Count;
            foreach (var content in contents)
            {
                Append(bytes, MemoryMarshal.AsBytes(_embeddings.AsSpan(content * Width, Width)));
            }

            column.Data = new ByteSlice(start, bytes.Count - start);
        }

        batch.Buffer = [.. bytes];
        decision.BudgetMicros = uint.MaxValue;
    }

    private static string Caption(SplitMix64 random)
    {
        var text = new StringBuilder();
        while (text.Length < 56)
        {
            text.Append(random.Pick<string>(Words)).Append(' ');
        }

        return text.ToString();
    }

    private static float[] Embeddings(ulong seed)
    {
        var random = new SplitMix64(seed);
        var numbers = new float[Contents * Width];
        for (var i = 0; i < numbers.Length; i++)
        {
            numbers[i] = (float)(random.NextDouble() * 2 - 1);
        }

        return numbers;
    }

    private static ByteSlice Append(List<byte> to, ReadOnlySpan<byte> bytes)
    {
        var slice = new ByteSlice(to.Count, bytes.Length);
        to.AddRange(bytes);
        return slice;
    }
}
