namespace SafetyFilter.Decisions;

/// <summary>Sets of candidates as one bit each, 64 to a word; bits past the count stay clear.</summary>
internal static class Bitmap
{
    public static int Words(int count) => (count + 63) >> 6;

    public static bool Get(ReadOnlySpan<ulong> bits, int index) => (bits[index >> 6] >> (index & 63) & 1) != 0;

    public static void Set(Span<ulong> bits, int index) => bits[index >> 6] |= 1UL << (index & 63);

    /// <summary>Sets the first <paramref name="count"/> bits and clears the rest of the last word.</summary>
    public static void Fill(Span<ulong> bits, int count)
    {
        var words = bits[..Words(count)];
        words.Fill(ulong.MaxValue);
        ClearTail(words, count);
    }

    /// <summary>Clears the bits past <paramref name="count"/> in the last word.</summary>
    public static void ClearTail(Span<ulong> bits, int count)
    {
        var used = count & 63;
        if (used != 0)
        {
            bits[Words(count) - 1] &= (1UL << used) - 1;
        }
    }

    public static bool Any(ReadOnlySpan<ulong> bits) => bits.ContainsAnyExcept(0UL);
}
