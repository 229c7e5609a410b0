using SafetyFilter.Decisions;
using SafetyFilter.Sidecar.Grpc;

namespace SafetyFilter.Tests.Sidecar;

public sealed class RequestLimitsTests
{
    private static readonly DateTimeOffset Now = new(2026, 6, 1, 12, 0, 0, TimeSpan.Zero);

    [Fact]
    public void Bound_NoDeadline_LeavesItToServerAndPolicy() => Assert.Equal((uint.MaxValue, BudgetBound.Deadline), Bound(DateTime.MaxValue));

    [Fact]
    public void Bound_Deadline_IsWhatIsLeftOfIt() =>
        Assert.Equal((3_000u, BudgetBound.Deadline), Bound(Now.UtcDateTime.AddMilliseconds(3)));

    [Fact]
    public void Bound_DeadlineInAMonth_Saturates() =>
        Assert.Equal((uint.MaxValue, BudgetBound.Deadline), Bound(Now.UtcDateTime.AddDays(30)));

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
        RequestLimits.Bound(decision, deadline, Now);
        return (decision.BudgetMicros, decision.BudgetBound);
    }
}
