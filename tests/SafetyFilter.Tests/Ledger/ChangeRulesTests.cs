using SafetyFilter.Ledger.Verify;
using SafetyFilter.Lineage.V1;
using Outcome = SafetyFilter.Lineage.V1.Change.Types.Outcome;

namespace SafetyFilter.Tests.Ledger;

public sealed class ChangeRulesTests
{
    [Theory]
    [InlineData("file", (int)Outcome.Accepted, false, 0, 1, null)]
    [InlineData("file", (int)Outcome.Refused, false, 2, 0, null)]
    [InlineData("rpc", (int)Outcome.Accepted, true, 0, 1, null)]
    [InlineData("", (int)Outcome.Accepted, false, 0, 1, "is a Change from '', which nothing comes from")]
    [InlineData("file", (int)Outcome.Unspecified, false, 0, 1, "is a Change with outcome 0, which there is not")]
    [InlineData("file", 3, false, 0, 1, "is a Change with outcome 3, which there is not")]
    [InlineData("file", (int)Outcome.Accepted, true, 0, 1, "is a Change that a file forced")]
    [InlineData("file", (int)Outcome.Refused, false, 0, 1, "is a refused Change without a reason")]
    [InlineData("file", (int)Outcome.Accepted, false, 1, 1, "is an accepted Change with errors")]
    [InlineData("rpc", (int)Outcome.Accepted, false, 0, 0, "is an accepted Change of nothing")]
    public void Fault_OfAChange_IsWhatDoesNotGoTogether(string source, int outcome, bool forced, int errors, int differences, string? fault)
    {
        var change = new Change { Source = source, Outcome = (Outcome)outcome, Forced = forced };
        change.Errors.AddRange(Enumerable.Repeat("wrong", errors));
        change.Differences.AddRange(Enumerable.Repeat(new Change.Types.Difference { Key = "Breaker:FailureRatio" }, differences));
        Assert.Equal(fault, ChangeRules.Fault(change));
    }

    [Fact]
    public void Fault_MoreCandidatesChangedThanSeen_SaysSo()
    {
        var change = new Change
        {
            Source = "file",
            Outcome = Outcome.Accepted,
            Differences = { new Change.Types.Difference { Key = "policy p" } },
            Effect = new Change.Types.Effect { Decisions = 1, Candidates = 3, Stricter = 2, Laxer = 2 },
        };
        Assert.Equal("is a Change that treats more candidates otherwise than it saw", ChangeRules.Fault(change));
    }
}
