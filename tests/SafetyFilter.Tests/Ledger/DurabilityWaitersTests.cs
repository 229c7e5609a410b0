using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger;

public sealed class DurabilityWaitersTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(1);
    private readonly FakeTimeProvider _time = new();

    [Fact]
    public async Task Wait_ConfirmedInTime_IsTrueForAllUpToIt()
    {
        var waiters = new DurabilityWaiters(_time);
        var (five, six, seven) = (waiters.Wait(5, Patience), waiters.Wait(6, Patience), waiters.Wait(7, Patience));

        waiters.Advance(6);

        Assert.True(await five);
        Assert.True(await six);
        Assert.False(seven.IsCompleted);
        _time.Advance(Patience);
        Assert.False(await seven);
        Assert.Equal(3, waiters.Waits);
    }

    [Fact]
    public async Task Wait_ConfirmedAfterThePatience_StaysFalse()
    {
        var waiters = new DurabilityWaiters(_time);
        var late = waiters.Wait(5, Patience);
        _time.Advance(Patience);

        waiters.Advance(5);

        Assert.False(await late);
    }

    [Fact]
    public void Wait_AlreadyConfirmed_IsTrueAtOnceAndNoWait()
    {
        var waiters = new DurabilityWaiters(_time);
        waiters.Advance(5);

        Assert.True(waiters.Wait(5, TimeSpan.Zero) is { IsCompletedSuccessfully: true, Result: true });
        Assert.True(waiters.Wait(6, TimeSpan.Zero) is { IsCompletedSuccessfully: true, Result: false });
        Assert.Equal(1, waiters.Waits);
    }
}
