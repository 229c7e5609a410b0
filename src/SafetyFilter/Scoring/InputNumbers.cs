using System.Numerics;
using System.Runtime.InteropServices;

namespace SafetyFilter.Scoring;

/// <summary>Looks through numbers that callers send before a model sees them.</summary>
internal static class InputNumbers
{
    private const float SmallestNormal = 1.17549435e-38f;

    /// <summary>
    /// Says whether every number lies within the limits (NaN never does), and sets subnormal ones to zero of their sign.
    /// </summary>
    /// <remarks>
    /// Both protect the breaker from callers: 1e38 overflows a model into NaN, and subnormals make it slower (on some processors
    /// many times), so whoever sends them could open the breaker for everybody. ONNX Runtime's own flag, set_denormal_as_zero, changes
    /// the thread that made the process's first session, for good, and no thread that runs: scores would depend on the thread.
    /// </remarks>
    public static bool Admit(Span<float> numbers, float least, float most)
    {
        var ok = true;
        var vectors = MemoryMarshal.Cast<float, Vector<float>>(numbers);
        if (vectors.Length > 0)
        {
            var low = new Vector<float>(least);
            var high = new Vector<float>(most);
            var normal = new Vector<float>(SmallestNormal);
            var sign = new Vector<float>(-0.0f);
            var inside = Vector<int>.AllBitsSet;
            foreach (ref var vector in vectors)
            {
                var value = vector;
                inside &= Vector.GreaterThanOrEqual(value, low) & Vector.LessThanOrEqual(value, high);
                vector = Vector.ConditionalSelect(Vector.LessThan(Vector.Abs(value), normal), value & sign, value);
            }

            ok = inside == Vector<int>.AllBitsSet;
        }

        foreach (ref var number in numbers[(vectors.Length * Vector<float>.Count)..])
        {
            ok &= number >= least && number <= most;
            if (MathF.Abs(number) < SmallestNormal)
            {
                number = MathF.CopySign(0, number);
            }
        }

        return ok;
    }
}
