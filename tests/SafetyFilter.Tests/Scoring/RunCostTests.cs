using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Scoring;

public sealed class RunCostTests
{
    private const uint Budget = 1000;

    [Fact]
    public void NanosOf_FewRuns_IsUnknown()
    {
        var cost = new RunCost();
        Learn(cost, 100, 5000, RunCost.Trusted - 1);
        Assert.Equal(0, cost.NanosOf(100));
        Assert.True(cost.MayStart(100, 1));
    }

    [Fact]
    public void NanosOf_FirstRunsAreCold_IsTheShortest()
    {
        var cost = new RunCost();
        Learn(cost, 100, 30_000, RunCost.Trusted - 1);
        Learn(cost, 100, 200, 1);
        Assert.Equal(200_000, cost.NanosOf(100));
    }

    [Theory]
    [InlineData(64, 200_000)]
    [InlineData(127, 200_000)]
    [InlineData(1000, 200_000)]
    [InlineData(63, 0)]
    public void NanosOf_OtherSizes_TakeTheNextSmallerOnesForTheLeast(int candidates, long nanos)
    {
        var cost = new RunCost();
        Learn(cost, 64, 200);
        Assert.Equal(nanos, cost.NanosOf(candidates));
    }

    [Fact]
    public void Ended_OneRunInterrupted_HardlyMatters()
    {
        var cost = new RunCost();
        Learn(cost, 100, 600);
        cost.Ended(100, 50_000, Budget);
        Assert.InRange(cost.NanosOf(100), 600_000, 640_000);
    }

    [Fact]
    public void Ended_MostRunsTakeLonger_FollowsThemAndNotTheOthers()
    {
        var cost = new RunCost();
        Learn(cost, 100, 300);
        for (var run = 0; run < 300; run++)
        {
            cost.Ended(100, run % 3 == 0 ? 300u : 2000, 1_000_000);
        }

        Assert.InRange(cost.NanosOf(100), 1_700_000, 2_000_000);
    }

    [Fact]
    public void MayStart_LongerThanWhatIsLeft_IsTriedOnceInSixtyFour()
    {
        var cost = new RunCost();
        Learn(cost, 100, Budget + 1);
        Assert.Equal(10, Enumerable.Range(0, 10 * RunCost.TryOneIn).Count(_ => cost.MayStart(100, Budget)));
        Assert.True(cost.MayStart(100, Budget + 1));
    }

    [Fact]
    public void Ended_TriedAndInTime_IsStartedAgain()
    {
        var cost = new RunCost();
        Learn(cost, 100, 20_000);
        cost.Ended(100, 400, Budget);
        Assert.True(cost.MayStart(100, Budget));
    }

    [Fact]
    public void Ended_TriedAndLate_FollowsByASixteenth()
    {
        var cost = new RunCost();
        Learn(cost, 100, 16_000);
        cost.Ended(100, Budget + 1, Budget);
        Assert.Equal(15_000_000, cost.NanosOf(100));
    }

    [Fact]
    public void Cut_AgainAndAgain_IsNotStartedAnyMore()
    {
        var cost = new RunCost();
        Learn(cost, 100, 100);
        var cuts = 0;
        for (; cost.MayStart(100, Budget); cuts++)
        {
            cost.Cut(100, Budget + 100);
        }

        Assert.InRange(cuts, 5, 20);
    }

    [Fact]
    public void Cut_SoonerThanItTakes_TeachesNothing()
    {
        var cost = new RunCost();
        Learn(cost, 100, 5000);
        for (var run = 0; run < 1000; run++)
        {
            cost.Cut(100, 60);
        }

        Assert.Equal(5_000_000, cost.NanosOf(100));
    }

    private static void Learn(RunCost cost, int candidates, uint micros, int runs = RunCost.Trusted)
    {
        for (var run = 0; run < runs; run++)
        {
            cost.Ended(candidates, micros, 1_000_000);
        }
    }
}
