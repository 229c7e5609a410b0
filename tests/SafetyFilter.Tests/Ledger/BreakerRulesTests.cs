using SafetyFilter.Decisions;
using SafetyFilter.Ledger.Verify;
using SafetyFilter.Lineage.V1;
using Reason = SafetyFilter.Lineage.V1.BreakerChange.Types.Reason;
using State = SafetyFilter.Lineage.V1.DecisionRecord.Types.BreakerState;

namespace SafetyFilter.Tests.Ledger;

public sealed class BreakerRulesTests
{
    [Theory]
    [InlineData((int)State.Open, (int)Reason.Failures, 5000, "", null)]
    [InlineData((int)State.Open, (int)Reason.SlowCalls, 5000, "", null)]
    [InlineData((int)State.Open, (int)Reason.TrialFailed, 5000, "", null)]
    [InlineData((int)State.HalfOpen, (int)Reason.BreakEnded, 0, "", null)]
    [InlineData((int)State.Closed, (int)Reason.TrialsSucceeded, 0, "", null)]
    [InlineData((int)State.Closed, (int)Reason.Reloaded, 0, "", null)]
    [InlineData((int)State.Closed, (int)Reason.Operator, 0, "ada", null)]
    [InlineData((int)State.Isolated, (int)Reason.Operator, 0, "ada", null)]
    [InlineData((int)State.Isolated, (int)Reason.Unspecified, 0, "", null)]
    [InlineData(9, (int)Reason.Unspecified, 0, "", "is a BreakerChange to state 9, which there is not")]
    [InlineData((int)State.Unspecified, (int)Reason.Failures, 0, "", "is a BreakerChange to state 0, which there is not")]
    [InlineData((int)State.Closed, (int)Reason.Failures, 0, "", "is a BreakerChange to Closed for reason Failures, which does not lead there")]
    [InlineData((int)State.Open, (int)Reason.Operator, 5000, "ada", "is a BreakerChange to Open for reason Operator, which does not lead there")]
    [InlineData((int)State.Open, 99, 5000, "", "is a BreakerChange to Open for reason 99, which does not lead there")]
    [InlineData((int)State.Open, (int)Reason.Failures, 0, "", "is a BreakerChange that opens for no time")]
    [InlineData((int)State.Closed, (int)Reason.TrialsSucceeded, 7, "", "is a BreakerChange to Closed for a break of 7 ms")]
    [InlineData((int)State.Isolated, (int)Reason.Operator, 0, "", "is a BreakerChange for reason Operator by ''")]
    [InlineData((int)State.Closed, (int)Reason.TrialsSucceeded, 0, "ada", "is a BreakerChange for reason TrialsSucceeded by 'ada'")]
    public void Fault_OfAChange_IsWhatDoesNotGoTogether(int state, int reason, ulong breakMillis, string actor, string? fault) => Assert.Equal(
        fault,
        BreakerRules.Fault(new BreakerChange { Bundle = "roots", Group = "default", State = (State)state, Reason = (Reason)reason, BreakMillis = breakMillis, Actor = actor }));

    [Fact]
    public void Fault_NoBundleOrNoGroup_SaysSo()
    {
        Assert.Equal("is a BreakerChange of no bundle", BreakerRules.Fault(new BreakerChange { State = State.Closed }));
        Assert.Equal(
            "is a BreakerChange of no group",
            BreakerRules.Fault(new BreakerChange { Bundle = "roots", State = State.Closed, Reason = Reason.TrialsSucceeded }));
    }

    [Fact]
    public void Reason_OnTheWire_HasTheSameValues() => Assert.Equal(
        Enum.GetValues<BreakerReason>().Select(static reason => ((int)reason, reason.ToString())),
        Enum.GetValues<Reason>().Where(static reason => reason != Reason.Unspecified).Select(static reason => ((int)reason, reason.ToString())));
}
