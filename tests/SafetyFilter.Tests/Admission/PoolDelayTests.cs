using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Admission;

namespace SafetyFilter.Tests.Admission;

public sealed class PoolDelayTests
{
    private readonly FakeTimeProvider _time = new();
    private readonly Queue<IThreadPoolWorkItem> _pool = new();
    private readonly PoolDelay _delay;
    private long _pending;

    public PoolDelayTests() => _delay = new PoolDelay(_time, () => _pending, _pool.Enqueue);

    [Fact]
    public void Waited_NothingIsPending_IsZeroAndLeavesNoMark()
    {
        Assert.Equal(TimeSpan.Zero, _delay.Waited());
        Assert.Empty(_pool);
    }

    [Fact]
    public void Waited_MarkIsStillInThePool_IsItsAge()
    {
        _pending = 1;
        Assert.Equal(TimeSpan.Zero, _delay.Waited());
        _time.Advance(TimeSpan.FromMilliseconds(3));
        Assert.Equal(TimeSpan.FromMilliseconds(3), _delay.Waited());

        // The first mark is through: what runs now came after it, and before the second.
        _pool.Dequeue().Execute();
        _time.Advance(TimeSpan.FromMilliseconds(2));
        Assert.Equal(TimeSpan.FromMilliseconds(2), _delay.Waited());
    }

    [Fact]
    public void Waited_AskedWithoutEnd_KeepsTheMarksFew()
    {
        _pending = 1;
        for (var i = 0; i < 1_000; i++)
        {
            _ = _delay.Waited();
            _time.Advance(TimeSpan.FromMicroseconds(100));
        }

        Assert.InRange(_pool.Count, 30, 64);
        Assert.Equal(TimeSpan.FromMilliseconds(100), _delay.Waited());
    }
}
