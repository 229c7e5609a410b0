namespace SafetyFilter.Filtering;

/// <summary>Holds what serves now. One field, swapped whole: a request reads it once and sees no mixture.</summary>
internal sealed class ServingStore
{
    private ServingSnapshot? _current;

    /// <summary>Null until the first load has succeeded, and again while draining.</summary>
    public ServingSnapshot? Current => Volatile.Read(ref _current);

    public void Swap(ServingSnapshot? snapshot) => Volatile.Write(ref _current, snapshot);

    /// <summary>Swaps unless something else serves by now, or nothing: a reload must not undo a drain.</summary>
    public bool TryReplace(ServingSnapshot before, ServingSnapshot after) => Interlocked.CompareExchange(ref _current, after, before) == before;
}
