using System.Diagnostics.CodeAnalysis;

namespace SafetyFilter.Scoring;

/// <summary>
/// Lends objects without locks or allocation: slots, taken and filled by exchange. (A linked stack would allocate a node per return, and an intrusive one has
/// the ABA problem.) More borrowers than slots get new ones. Thread-safe.
/// </summary>
/// <param name="slots">How many it keeps.</param>
/// <param name="create">Makes one when none is kept.</param>
internal sealed class SlotPool<T>(int slots, Func<T> create)
    where T : class
{
    private readonly T?[] _slots = new T?[slots];

    public T Rent() => TryTake(out var kept) ? kept : create();

    /// <summary>One that is kept, for whoever empties the pool.</summary>
    public bool TryTake([NotNullWhen(true)] out T? kept)
    {
        foreach (ref var slot in _slots.AsSpan())
        {
            if (slot is not null && Interlocked.Exchange(ref slot, null) is { } taken)
            {
                kept = taken;
                return true;
            }
        }

        kept = null;
        return false;
    }

    /// <summary>False when there is no room: it is the caller's to free.</summary>
    public bool TryReturn(T item)
    {
        foreach (ref var slot in _slots.AsSpan())
        {
            if (slot is null && Interlocked.CompareExchange(ref slot, item, null) is null)
            {
                return true;
            }
        }

        return false;
    }
}
