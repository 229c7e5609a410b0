using System.IO.Hashing;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace SafetyFilter.Filtering;

/// <summary>
/// What classifiers last said of contents: a set-associative table of fixed size, in memory only. It forgets what was not seen for
/// the longest time first. Thread-safe without locks.
/// </summary>
/// <remarks>
/// An entry is two words, (key ^ data, data): after R. Hyatt and T. Mann, "A lock-less transposition table implementation for
/// parallel search" (2002). Whoever reads one that is half another's finds another key in it, so a torn entry is a miss and never a
/// wrong score. Hashes have a seed of this process, so that nobody can choose contents that share one.
/// </remarks>
internal sealed class LastKnownScores(LastKnownOptions options)
{
    private const int Ways = 4;

    // 64 bytes, a line of the processor's cache.
    private const int WordsPerSet = Ways * 2;

    private readonly long _seed = BitConverter.ToInt64(RandomNumberGenerator.GetBytes(sizeof(long)));
    private readonly int _words = (int)BitOperations.RoundUpToPowerOf2((uint)options.MemoryBytes / 2 + 1) / sizeof(ulong);
    private Table? _table;

    /// <summary>The entries. Takes their memory, once.</summary>
    public Span<ulong> Allocate()
    {
        var table = Volatile.Read(ref _table);
        if (table is null)
        {
            table = new Table(_words);
            table = Interlocked.CompareExchange(ref _table, table, null) ?? table;
        }

        return table.Words.AsSpan(table.First, _words);
    }

    /// <summary>
    /// Has the memory of these contents fetched at once, for calls that follow: one after the other, a page would wait for it once for
    /// each candidate.
    /// </summary>
    /// <returns>Nothing of use, but then nobody can leave the reading out.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public ulong Fetch(ReadOnlySpan<ContentKey> contents)
    {
        var table = Allocate();
        var read = 0ul;
        foreach (var content in contents)
        {
            read |= table[StartOf(content)];
        }

        return read;
    }

    public ContentKey KeyOf(ReadOnlySpan<byte> id, ReadOnlySpan<byte> version)
    {
        // Each of the two is hashed by itself: "a" in version "bc" is not "ab" in version "c".
        var content = XxHash128.HashToUInt128(id, _seed);
        var key = XxHash128.HashToUInt128(version, (long)(ulong)content);
        return new ContentKey((ulong)(key >> 64) ^ (ulong)(content >> 64), (ulong)key);
    }

    /// <param name="key">The content's, for the classifier.</param>
    /// <param name="score">0 to 1.</param>
    /// <param name="unixSeconds">Now; more than 0.</param>
    public void Remember(ContentKey key, float score, uint unixSeconds)
    {
        var data = (ulong)BitConverter.SingleToUInt32Bits(score) << 32 | unixSeconds;
        var set = SetOf(key);
        var into = 0;
        var oldest = uint.MaxValue;
        for (var i = 0; i < WordsPerSet; i += 2)
        {
            var there = Volatile.Read(ref set[i + 1]);
            if (there == data && Volatile.Read(ref set[i]) == (key.Tag ^ data))
            {
                // Not written again: the line may be in another core's cache too.
                return;
            }

            if (there != 0 && (Volatile.Read(ref set[i]) ^ there) == key.Tag)
            {
                into = i;
                break;
            }

            // Free entries are from 1970.
            if ((uint)there < oldest)
            {
                (into, oldest) = (i, (uint)there);
            }
        }

        Volatile.Write(ref set[into], key.Tag ^ data);
        Volatile.Write(ref set[into + 1], data);
    }

    public bool TryRecall(ContentKey key, out float score)
    {
        var set = SetOf(key);
        for (var i = 0; i < WordsPerSet; i += 2)
        {
            var data = Volatile.Read(ref set[i + 1]);
            if (data != 0 && (Volatile.Read(ref set[i]) ^ data) == key.Tag)
            {
                score = BitConverter.UInt32BitsToSingle((uint)(data >> 32));
                return true;
            }
        }

        score = float.NaN;
        return false;
    }

    private Span<ulong> SetOf(ContentKey key) => Allocate().Slice(StartOf(key), WordsPerSet);

    private int StartOf(ContentKey key) => (int)(key.Place & (uint)(_words / WordsPerSet - 1)) * WordsPerSet;

    // Pinned, so that sets stay on lines.
    private sealed class Table
    {
        public Table(int words)
        {
            Words = GC.AllocateArray<ulong>(words + WordsPerSet - 1, pinned: true);
            var line = WordsPerSet * sizeof(ulong);
            First = (int)((line - Marshal.UnsafeAddrOfPinnedArrayElement(Words, 0) % line) % line) / sizeof(ulong);
        }

        public ulong[] Words { get; }

        public int First { get; }
    }
}

/// <summary>Where a score is kept, and how it is told from others there.</summary>
internal readonly record struct ContentKey(ulong Place, ulong Tag)
{
    /// <summary>The key of this content for one classifier. They all lie near each other.</summary>
    public ContentKey For(ulong classifier) => new(Place + (classifier & 7), Tag ^ classifier);
}
