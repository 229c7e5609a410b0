using System.Numerics;

namespace SafetyFilter.Scoring;

/// <summary>
/// What a bundle's runs take, learned from them: for each power of two of the page's size the median, by steps of a sixteenth up or down.
/// Thread-safe without locks: of two observations at once one may get lost, and nothing else.
/// </summary>
/// <remarks>
/// The median, because one run that the machine interrupted must not cost the next ones their scores: a mean would follow it.
/// Nothing decays with time or by being skipped; else callers with tiny deadlines, who skip all, would make it forget.
/// </remarks>
internal sealed class RunCost
{
    /// <summary>Runs of a size before it is believed. Until then the shortest counts, since the first ones compile and warm up.</summary>
    public const int Trusted = 32;

    /// <summary>One in so many skipped runs is tried all the same: a model that got faster is noticed, and a hung one costs 1.6 % of requests.</summary>
    public const int TryOneIn = 64;

    private readonly SizeClass[] _classes = new SizeClass[32];

    /// <summary>Median of the runs of pages of about this size, in nanoseconds; 0 when nothing is known.</summary>
    public long NanosOf(int candidates)
    {
        // A larger page does not take less than a smaller one.
        for (var i = BitOperations.Log2((uint)candidates); i >= 0; i--)
        {
            if (Volatile.Read(ref _classes[i].Runs) >= Trusted)
            {
                return Volatile.Read(ref _classes[i].Nanos);
            }
        }

        return 0;
    }

    /// <summary>Whether a run should start, given what is left of the budget.</summary>
    public bool MayStart(int candidates, uint microsLeft) =>
        NanosOf(candidates) <= microsLeft * 1000L
        || Interlocked.Increment(ref _classes[BitOperations.Log2((uint)candidates)].Skipped) % TryOneIn == 0;

    /// <summary>A run that came to its end.</summary>
    /// <param name="candidates">The page's size.</param>
    /// <param name="micros">What it took.</param>
    /// <param name="limitMicros">What it was given. A run within a limit that it was not expected to keep corrects the estimate at once.</param>
    public void Ended(int candidates, uint micros, uint limitMicros)
    {
        ref var size = ref _classes[BitOperations.Log2((uint)candidates)];
        var took = micros * 1000L;
        var known = Volatile.Read(ref size.Nanos);
        if (Learns(ref size, took, known))
        {
            return;
        }

        var limit = limitMicros * 1000L;
        var step = Math.Max(1, known / 16);
        Volatile.Write(ref size.Nanos, took > known ? Math.Min(took, known + step) : took <= limit && limit < known ? took : Math.Max(took, known - step));
    }

    /// <summary>A run that was cut: it takes longer than this, nobody knows by how much.</summary>
    public void Cut(int candidates, uint micros)
    {
        ref var size = ref _classes[BitOperations.Log2((uint)candidates)];
        var took = micros * 1000L;
        var known = Volatile.Read(ref size.Nanos);
        var atLeast = took + took / 4;
        if (!Learns(ref size, took, known) && known < atLeast)
        {
            Volatile.Write(ref size.Nanos, Math.Min(atLeast, known + Math.Max(1, known / 4)));
        }
    }

    private static bool Learns(ref SizeClass size, long took, long known)
    {
        var runs = Volatile.Read(ref size.Runs);
        if (runs >= Trusted)
        {
            return false;
        }

        Volatile.Write(ref size.Nanos, runs == 0 ? took : Math.Min(took, known));
        Volatile.Write(ref size.Runs, runs + 1);
        return true;
    }

    private struct SizeClass
    {
        public long Nanos;
        public int Runs;
        public int Skipped;
    }
}
