using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Scoring;

public sealed class ScoringOptionsTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(32)]
    [InlineData(10_000)]
    public void Validate_NeverOrEnough_IsFine(int splitAbove) => Assert.Empty(new ScoringOptions { SplitAbove = splitAbove }.Validate());

    [Theory]
    [InlineData(-1)]
    [InlineData(31)]
    [InlineData(10_001)]
    public void Validate_TooFewOrTooMany_SaysWhatMayBe(int splitAbove) => Assert.Equal(
        $"Scoring:SplitAbove is {splitAbove}; it must be 0 (never) or 32 to 10000.", Assert.Single(new ScoringOptions { SplitAbove = splitAbove }.Validate()));
}
