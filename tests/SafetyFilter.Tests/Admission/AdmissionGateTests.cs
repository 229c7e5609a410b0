using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Admission;
using SafetyFilter.Decisions;

namespace SafetyFilter.Tests.Admission;

public sealed class AdmissionGateTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(20);

    private readonly FakeTimeProvider _time = new();

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public void TryEnter_AllPlacesTaken_IsFalseUntilOneIsGivenBack()
    {
        using var gate = new AdmissionGate(places: 2, maxWaiting: 4, _time);
        Assert.True(gate.TryEnter());
        Assert.True(gate.TryEnter());
        Assert.False(gate.TryEnter());
        Assert.Equal(2, gate.InFlight);

        gate.Leave(_time.GetTimestamp());
        Assert.True(gate.TryEnter());
    }

    [Fact]
    public async Task Enter_PlacesTaken_TakesTurnsInTheOrderOfArrival()
    {
        using var gate = Busy(places: 1, maxWaiting: 4);
        var first = gate.Enter(SurfacePriority.Normal, Patience, Cancelled);
        var second = gate.Enter(SurfacePriority.Normal, Patience, Cancelled);
        Assert.Equal(2, gate.Waiting);

        gate.Leave(_time.GetTimestamp());
        Assert.Equal(ShedReason.None, (await first).Reason);
        Assert.False(second.IsCompleted);

        // The place is handed over: whoever comes meanwhile does not get it.
        Assert.False(gate.TryEnter());
        gate.Leave(_time.GetTimestamp());
        Assert.Equal(ShedReason.None, (await second).Reason);
        Assert.Equal((1, 0), (gate.InFlight, gate.Waiting));
    }

    [Fact]
    public async Task Enter_TurnWouldComeTooLate_IsRefusedWhenItComes()
    {
        using var gate = Busy(places: 1, maxWaiting: 4, service: TimeSpan.FromMilliseconds(10));
        Assert.Equal(ShedReason.NoTime, gate.Foresee(SurfacePriority.Normal, TimeSpan.FromMilliseconds(9)));
        Assert.Equal(ShedReason.NoTime, (await gate.Enter(SurfacePriority.Normal, TimeSpan.FromMilliseconds(9), Cancelled)).Reason);
        var waits = gate.Enter(SurfacePriority.Normal, TimeSpan.FromMilliseconds(11), Cancelled);
        Assert.False(waits.IsCompleted);

        // Behind it the turn comes a service time later.
        Assert.Equal(ShedReason.NoTime, (await gate.Enter(SurfacePriority.Normal, TimeSpan.FromMilliseconds(19), Cancelled)).Reason);
        gate.Leave(_time.GetTimestamp());
        Assert.Equal(ShedReason.None, (await waits).Reason);
    }

    [Fact]
    public async Task Enter_PatienceEnds_LeavesTheLineAlsoWhenNoPlaceIsGivenBack()
    {
        using var gate = Busy(places: 1, maxWaiting: 4);
        var patient = gate.Enter(SurfacePriority.Normal, TimeSpan.FromMilliseconds(50), Cancelled);
        var hasty = gate.Enter(SurfacePriority.Normal, TimeSpan.FromMilliseconds(5), Cancelled);

        _time.Advance(TimeSpan.FromMilliseconds(5));
        Assert.Equal(ShedReason.WaitedTooLong, (await hasty).Reason);
        Assert.False(patient.IsCompleted);

        _time.Advance(TimeSpan.FromMilliseconds(45));
        Assert.Equal(ShedReason.WaitedTooLong, (await patient).Reason);
        Assert.Equal((1, 0), (gate.InFlight, gate.Waiting));
    }

    [Fact]
    public async Task Enter_LineIsFull_TheHigherPriorityTakesTheLastPlaceOfTheLower()
    {
        using var gate = Busy(places: 1, maxWaiting: 2);
        var low = gate.Enter(SurfacePriority.Low, Patience, Cancelled);
        var normal = gate.Enter(SurfacePriority.Normal, Patience, Cancelled);
        Assert.Equal(ShedReason.Full, gate.Foresee(SurfacePriority.Low, Patience));
        Assert.Equal(ShedReason.Full, (await gate.Enter(SurfacePriority.Low, Patience, Cancelled)).Reason);
        Assert.Equal(ShedReason.None, gate.Foresee(SurfacePriority.High, Patience));

        var high = gate.Enter(SurfacePriority.High, Patience, Cancelled);
        Assert.Equal(ShedReason.Displaced, (await low).Reason);
        gate.Leave(_time.GetTimestamp());
        Assert.Equal(ShedReason.None, (await high).Reason);
        Assert.False(normal.IsCompleted);
        gate.Leave(_time.GetTimestamp());
        Assert.Equal(ShedReason.None, (await normal).Reason);
    }

    [Fact]
    public async Task Enter_HolderRunsLateAfterItsPlaceWasGiven_HeldItAllTheWhile()
    {
        using var gate = Busy(places: 1, maxWaiting: 2, service: TimeSpan.FromMilliseconds(1));
        var waits = gate.Enter(SurfacePriority.Normal, Patience, Cancelled);
        gate.Leave(_time.GetTimestamp());
        var before = gate.ServiceTime;

        // The pool has a thread for it only now.
        _time.Advance(TimeSpan.FromMilliseconds(16));
        var turn = await waits;
        gate.Leave(turn.Entered);

        Assert.Equal(before + (TimeSpan.FromMilliseconds(16) - before) / 16, gate.ServiceTime);
    }

    [Fact]
    public async Task Enter_CallerGoes_LeavesTheLineAtOnceAndThoseBehindMoveUp()
    {
        using var gate = Busy(places: 1, maxWaiting: 2);
        using var going = new CancellationTokenSource();
        var first = gate.Enter(SurfacePriority.Normal, Patience, going.Token);
        var second = gate.Enter(SurfacePriority.Normal, Patience, Cancelled);
        Assert.Equal(ShedReason.Full, gate.Foresee(SurfacePriority.Normal, Patience));

        await going.CancelAsync();

        Assert.Equal(ShedReason.CallerGone, (await first).Reason);
        Assert.Equal((1, 1), (gate.InFlight, gate.Waiting));
        Assert.Equal(ShedReason.None, gate.Foresee(SurfacePriority.Normal, Patience));
        gate.Leave(_time.GetTimestamp());
        Assert.Equal(ShedReason.None, (await second).Reason);
    }

    [Fact]
    public async Task Enter_CallerHasGone_DoesNotWait()
    {
        using var gate = Busy(places: 1, maxWaiting: 2);
        Assert.Equal(ShedReason.CallerGone, (await gate.Enter(SurfacePriority.Normal, Patience, new CancellationToken(canceled: true))).Reason);
        Assert.Equal((1, 0), (gate.InFlight, gate.Waiting));
    }

    [Fact]
    public async Task Enter_CallerGoesAfterItsTurnCame_DisturbsNobodyWhoWaitsInItsStead()
    {
        using var gate = Busy(places: 1, maxWaiting: 2);
        using var going = new CancellationTokenSource();
        var first = gate.Enter(SurfacePriority.Normal, Patience, going.Token);
        gate.Leave(_time.GetTimestamp());
        Assert.Equal(ShedReason.None, (await first).Reason);

        // The gate uses what it has kept of the first one again.
        var second = gate.Enter(SurfacePriority.Normal, Patience, Cancelled);
        await going.CancelAsync();

        Assert.False(second.IsCompleted);
        Assert.Equal(1, gate.Waiting);
        gate.Leave(_time.GetTimestamp());
        Assert.Equal(ShedReason.None, (await second).Reason);
    }

    [Fact]
    public async Task Enter_CallersComeAndGoAtOnce_NoPlaceIsLostOrGivenTwice()
    {
        const int Places = 2;
        const int Callers = 8;
        var rounds = LongRun.Count(1_000, 50_000);
        using var gate = new AdmissionGate(Places, maxWaiting: Callers, TimeProvider.System);
        var inside = 0;
        var most = 0;
        await Task.WhenAll(Enumerable.Range(0, Callers).Select(caller => Task.Run(async () =>
        {
            for (var round = 0; round < rounds; round++)
            {
                using var going = new CancellationTokenSource();
                var waiting = gate.Enter(SurfacePriority.Normal, TimeSpan.FromMinutes(1), going.Token);
                if ((caller + round) % 2 == 0)
                {
                    await going.CancelAsync();
                }

                var turn = await waiting;
                if (turn.Reason == ShedReason.None)
                {
                    InterlockedMax(ref most, Interlocked.Increment(ref inside));
                    Interlocked.Decrement(ref inside);
                    gate.Leave(turn.Entered);
                }
            }
        })));

        Assert.InRange(most, 1, Places);
        Assert.Equal((0, 0), (gate.InFlight, gate.Waiting));
    }

    [Fact]
    public async Task Enter_NoPatience_IsRefusedAtOnce()
    {
        using var gate = Busy(places: 1, maxWaiting: 2);
        Assert.Equal(ShedReason.NoTime, (await gate.Enter(SurfacePriority.High, TimeSpan.Zero, Cancelled)).Reason);
        Assert.Equal(0, gate.Waiting);
    }

    [Fact]
    public async Task Enter_ManyAtOnce_NeverMoreThanThePlacesAreInside()
    {
        const int Places = 3;
        const int Callers = 16;
        var rounds = LongRun.Count(2_000, 100_000);
        using var gate = new AdmissionGate(Places, maxWaiting: Callers, TimeProvider.System);
        var inside = 0;
        var most = 0;
        var admitted = 0;
        await Task.WhenAll(Enumerable.Range(0, Callers).Select(caller => Task.Run(async () =>
        {
            for (var round = 0; round < rounds; round++)
            {
                var priority = (SurfacePriority)((caller + round) % 3);
                if (!gate.TryEnter() && (await gate.Enter(priority, TimeSpan.FromMinutes(1), Cancelled)).Reason != ShedReason.None)
                {
                    continue;
                }

                var entered = TimeProvider.System.GetTimestamp();
                var now = Interlocked.Increment(ref inside);
                InterlockedMax(ref most, now);
                Interlocked.Increment(ref admitted);
                Interlocked.Decrement(ref inside);
                gate.Leave(entered);
            }
        })));

        Assert.InRange(most, 1, Places);
        Assert.Equal(Callers * rounds, admitted);
        Assert.Equal((0, 0), (gate.InFlight, gate.Waiting));
    }

    [Fact]
    public void TryEnterAndLeave_PlacesFree_AllocateNothing()
    {
        using var gate = new AdmissionGate(places: 2, maxWaiting: 4, TimeProvider.System);

        Assert.Equal(0, AllocatedBytes.Of(1_000, () =>
        {
            Assert.True(gate.TryEnter());
            gate.Leave(TimeProvider.System.GetTimestamp());
        }));
    }

    private static void InterlockedMax(ref int target, int value)
    {
        var seen = Volatile.Read(ref target);
        while (seen < value && Interlocked.CompareExchange(ref target, value, seen) is var before && before != seen)
        {
            seen = before;
        }
    }

    /// <summary>A gate whose places are all taken, by requests that take so long of late.</summary>
    private AdmissionGate Busy(int places, int maxWaiting, TimeSpan service = default)
    {
        var gate = new AdmissionGate(places, maxWaiting, _time);
        Assert.True(gate.TryEnter());
        var entered = _time.GetTimestamp();
        _time.Advance(service);
        gate.Leave(entered);
        for (var place = 0; place < places; place++)
        {
            Assert.True(gate.TryEnter());
        }

        return gate;
    }
}
