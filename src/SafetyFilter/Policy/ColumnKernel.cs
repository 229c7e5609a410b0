using System.Numerics;
using System.Runtime.Intrinsics;
using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>Comparisons of a whole column, one bit per candidate.</summary>
internal static class ColumnKernel
{
    /// <summary>Sets the bits of the values in [low, high] and clears all others. NaN lies in no interval.</summary>
    public static void InRange<T>(ReadOnlySpan<T> values, T low, T high, Span<ulong> bits)
        where T : unmanaged, INumber<T>
    {
        var lanes = Vector256<T>.Count;
        var lows = Vector256.Create(low);
        var highs = Vector256.Create(high);
        for (var start = 0; start < values.Length; start += 64)
        {
            var block = values.Slice(start, Math.Min(64, values.Length - start));
            ulong word = 0;
            var i = 0;
            for (; i <= block.Length - lanes; i += lanes)
            {
                var vector = Vector256.Create(block[i..]);
                var inside = Vector256.GreaterThanOrEqual(vector, lows) & Vector256.LessThanOrEqual(vector, highs);
                word |= (ulong)inside.ExtractMostSignificantBits() << i;
            }

            for (; i < block.Length; i++)
            {
                if (block[i] >= low && block[i] <= high)
                {
                    word |= 1UL << i;
                }
            }

            bits[start >> 6] = word;
        }
    }

    public static void Fill(bool value, int count, Span<ulong> bits)
    {
        if (value)
        {
            Bitmap.Fill(bits, count);
        }
        else
        {
            bits.Clear();
        }
    }
}
