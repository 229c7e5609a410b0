using SafetyFilter.Decisions;
using SafetyFilter.Sidecar.Grpc;

namespace SafetyFilter.Tests.Sidecar;

public sealed class RequestLimitsTests
{
    private static readonly DateTimeOffset Now = new(2026, 6, 1, 12, 0, 0, TimeSpan.Zero);

    [Fact]
    public void Bound_NoDeadline_IsTheServersCap() => Assert.Equal((20_000u, BudgetBound.Server), Bound(DateTime.MaxValue));

    [Fact]
    public void Bound_DeadlineBeforeTheCap_IsWhatIsLeftOfIt() =>
        Assert.Equal((3_000u, BudgetBound.Deadline), Bound(Now.UtcDateTime.AddMilliseconds(3)));

    [Fact]
    public void Bound_DeadlineBehindTheCap_IsTheServersCap() =>
        Assert.Equal((20_000u, BudgetBound.Server), Bound(Now.UtcDateTime.AddSeconds(30)));

    [Fact]
    public void Bound_DeadlineInThePast_LeavesNothing() =>
        Assert.Equal((0u, BudgetBound.Deadline), Bound(Now.UtcDateTime.AddSeconds(-1)));

    [Fact]
    public void Validate_MaxBudgetAboveAnyPolicys_NamesValueAndRange() => Assert.Equal(
        ["Limits:MaxBudget is 00:00:02; it must be 00:00:00.00005 to 00:00:01, as a policy's budget."],
        new RequestLimits { MaxBudget = TimeSpan.FromSeconds(2) }.Validate());

    private static (uint, BudgetBound) Bound(DateTime deadline)
    {
        var decision = new Decision();
        new RequestLimits { MaxBudget = TimeSpan.FromMilliseconds(20) }.Bound(decision, deadline, Now);
        return (decision.BudgetMicros, decision.BudgetBound);
    }
}
