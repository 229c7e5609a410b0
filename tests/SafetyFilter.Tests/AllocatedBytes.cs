namespace SafetyFilter.Tests;

/// <summary>What an operation allocates on the calling thread.</summary>
internal static class AllocatedBytes
{
    private const int Rounds = 5;

    /// <summary>
    /// Of so many calls together: the least of some rounds. The first ones warm it up, and a garbage collection that another test causes
    /// books up to 8 KiB on a thread that allocated nothing.
    /// </summary>
    public static long Of(int calls, Action operation)
    {
        var least = long.MaxValue;
        for (var round = 0; round < Rounds; round++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var call = 0; call < calls; call++)
            {
                operation();
            }

            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
