namespace SafetyFilter.Scoring;

/// <summary>
/// Lends run scratches without locks or allocation: a slot per core, taken and filled by exchange. (A linked stack would
/// allocate a node per return, and an intrusive one has the ABA problem.) More callers than slots get a new one, and the surplus is freed.
/// </summary>
internal sealed class ScratchPool(Func<RunScratch> create) : IDisposable
{
    private readonly RunScratch?[] _slots = new RunScratch?[Math.Max(4, Environment.ProcessorCount * 2)];

    public RunScratch Rent()
    {
        foreach (ref var slot in _slots.AsSpan())
        {
            if (slot is not null && Interlocked.Exchange(ref slot, null) is { } scratch)
            {
                return scratch;
            }
        }

        return create();
    }

    /// <summary>Takes it back, or frees it when there is no room or a failed run may have left it in any state.</summary>
    public void Return(RunScratch scratch, bool sound)
    {
        if (sound)
        {
            foreach (ref var slot in _slots.AsSpan())
            {
                if (slot is null && Interlocked.CompareExchange(ref slot, scratch, null) is null)
                {
                    return;
                }
            }
        }

        scratch.Dispose();
    }

    public void Dispose()
    {
        foreach (ref var slot in _slots.AsSpan())
        {
            Interlocked.Exchange(ref slot, null)?.Dispose();
        }
    }
}
