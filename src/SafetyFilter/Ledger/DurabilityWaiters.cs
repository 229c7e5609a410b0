namespace SafetyFilter.Ledger;

/// <summary>
/// Requests that wait for the disk, without a thread each. Many share one fdatasync: whoever comes while one runs is answered
/// by the next.
/// </summary>
internal sealed class DurabilityWaiters(TimeProvider time)
{
    private readonly Lock _lock = new();
    private readonly List<Waiter> _waiting = [];
    private ulong _durable;
    private long _waits;

    /// <summary>Waits that were begun.</summary>
    public long Waits => Volatile.Read(ref _waits);

    /// <summary>True once <paramref name="sequence"/> is durable; false when that takes longer than <paramref name="patience"/>.</summary>
    public ValueTask<bool> Wait(ulong sequence, TimeSpan patience)
    {
        lock (_lock)
        {
            if (sequence <= _durable)
            {
                return ValueTask.FromResult(true);
            }

            _waits++;
            if (patience <= TimeSpan.Zero)
            {
                return ValueTask.FromResult(false);
            }

            var waiter = new Waiter(this, sequence);
            _waiting.Add(waiter);
            waiter.Begin(time, patience);
            return new ValueTask<bool>(waiter.Task);
        }
    }

    /// <summary>fdatasync has confirmed every record up to this one.</summary>
    public void Advance(ulong durable)
    {
        lock (_lock)
        {
            _durable = durable;
            for (var index = _waiting.Count - 1; index >= 0; index--)
            {
                if (_waiting[index].Sequence <= durable)
                {
                    _waiting[index].End(true);
                    _waiting.RemoveAt(index);
                }
            }
        }
    }

    private void GiveUp(Waiter waiter)
    {
        lock (_lock)
        {
            if (_waiting.Remove(waiter))
            {
                waiter.End(false);
            }
        }
    }

    private sealed class Waiter(DurabilityWaiters owner, ulong sequence)
        : TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously)
    {
        private ITimer? _timer;

        public ulong Sequence { get; } = sequence;

        public void Begin(TimeProvider time, TimeSpan patience) =>
            _timer = time.CreateTimer(static self => ((Waiter)self!).TimeIsUp(), this, patience, Timeout.InfiniteTimeSpan);

        public void End(bool durable)
        {
            _timer?.Dispose();
            SetResult(durable);
        }

        private void TimeIsUp() => owner.GiveUp(this);
    }
}
