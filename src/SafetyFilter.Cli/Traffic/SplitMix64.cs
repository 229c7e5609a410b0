namespace SafetyFilter.Cli.Traffic;

/// <summary>
/// Steele, Lea and Flood's SplitMix64 (OOPSLA 2014): a generator small enough to make one per request, so that request k
/// is the same whichever worker sends it, and the same on every runtime (System.Random promises neither).
/// </summary>
internal struct SplitMix64(ulong seed)
{
    private ulong _state = seed;

    public static SplitMix64 For(ulong seed, ulong number) => new(new SplitMix64(seed ^ (number * 0xD1B54A32D192ED03)).Next());

    public ulong Next()
    {
        var z = _state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>Uniform in 0..limit-1. The bias of the multiplication is below 2^-32 for our limits.</summary>
    public int Next(int limit) => (int)(((Next() >> 32) * (ulong)limit) >> 32);

    /// <summary>Uniform in [0, 1).</summary>
    public double NextDouble() => (Next() >> 11) * (1.0 / (1UL << 53));

    public T Pick<T>(ReadOnlySpan<T> from) => from[Next(from.Length)];
}
