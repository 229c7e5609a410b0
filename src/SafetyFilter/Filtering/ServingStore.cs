namespace SafetyFilter.Filtering;

/// <summary>Holds what serves now. One volatile field, swapped whole: a request reads it once and sees no mixture.</summary>
internal sealed class ServingStore
{
    private volatile ServingSnapshot? _current;

    /// <summary>Null until the first load has succeeded, and again while draining.</summary>
    public ServingSnapshot? Current => _current;

    public void Swap(ServingSnapshot? snapshot) => _current = snapshot;
}
