using SafetyFilter.Breaker;
using SafetyFilter.Decisions;

namespace SafetyFilter.Tests.Breaker;

public sealed class BreakerOptionsTests
{
    [Fact]
    public void For_BundleWithThresholdsOfItsOwn_TakesThemAndOthersTheCommonOnes()
    {
        var options = new BreakerOptions { MinimumThroughput = 4, Bundles = { ["roots"] = new BreakerOverride { MinimumThroughput = 2, FailureRatio = 1 } } };
        using var own = new BreakerBench(options.For("roots"));
        using var common = new BreakerBench(options.For("numbers"));
        foreach (var bench in new[] { own, common })
        {
            bench.Bad();
            bench.Bad();
        }

        Assert.Equal((BreakerState.Open, BreakerState.Closed), (own.Guarded.State, common.Guarded.State));
    }

    [Fact]
    public void For_BundleWithOneThresholdOfItsOwn_TakesTheOthersFromTheSection()
    {
        var options = new BreakerOptions { MinimumThroughput = 4, FailureRatio = 0.9, Bundles = { ["roots"] = new BreakerOverride { FailureRatio = 0.2 } } };
        Assert.Equal((4, 0.2), (options.For("roots").MinimumThroughput, options.For("roots").FailureRatio));
    }

    [Fact]
    public void Validate_Defaults_AreRight()
    {
        Assert.Empty(new BreakerOptions().Validate());
        Assert.Empty(new ChaosOptions().Validate(isProduction: true));
    }

    [Fact]
    public void Validate_EverythingWrong_SaysAllOfItWithSectionAndRemedy()
    {
        var options = new BreakerOptions
        {
            FailureRatio = 0,
            MinimumThroughput = 1,
            SamplingDuration = TimeSpan.FromMilliseconds(499),
            BreakDuration = TimeSpan.FromDays(2),
            SlowCallMicros = -1,
            SlowCallRatio = double.NaN,
            TrialCalls = 101,
            Bundles = { ["text-safety"] = new BreakerOverride { FailureRatio = 1.5, TrialCalls = 0 } },
        };
        Assert.Equal(
            [
                "Breaker:FailureRatio is 0; it must be above 0 and at most 1. Use a share such as 0.5.",
                "Breaker:MinimumThroughput is 1; it must be at least 2.",
                "Breaker:SamplingDuration is 00:00:00.4990000; it must be 00:00:00.500 to 1.00:00:00.",
                "Breaker:BreakDuration is 2.00:00:00; it must be 00:00:00.500 to 1.00:00:00.",
                "Breaker:SlowCallMicros is -1; it must be at least 0. Use 0 to count no call as slow.",
                "Breaker:SlowCallRatio is NaN; it must be above 0 and at most 1. Use a share such as 0.8.",
                "Breaker:TrialCalls is 101; it must be 1 to 100.",
                "Breaker:Bundles:text-safety:FailureRatio is 1.5; it must be above 0 and at most 1. Use a share such as 0.5.",
                "Breaker:Bundles:text-safety:TrialCalls is 0; it must be 1 to 100.",
            ],
            options.Validate());
    }

    [Fact]
    public void Validate_RatioIsNotANumber_IsRefused() =>
        Assert.Equal(
            ["Breaker:FailureRatio is NaN; it must be above 0 and at most 1. Use a share such as 0.5."],
            new BreakerOptions { FailureRatio = double.NaN }.Validate());

    [Fact]
    public void Validate_ShortestAndLargestThresholds_BuildABreaker()
    {
        var options = new BreakerOptions
        {
            FailureRatio = 1,
            MinimumThroughput = 2,
            SamplingDuration = TimeSpan.FromMilliseconds(500),
            BreakDuration = TimeSpan.FromDays(1),
        };
        Assert.Empty(options.Validate());
        using var bench = new BreakerBench(options);
        bench.Bad();
        bench.Bad();
        Assert.Equal(BreakerState.Open, bench.Guarded.State);
    }

    [Fact]
    public void Validate_ChaosInProduction_IsRefusedUnlessMeant()
    {
        var chaos = new ChaosOptions { Enabled = true };
        Assert.Equal(
            ["Chaos:Enabled is true in the Production environment. Set it to false, or Chaos:AllowInProduction to true if you mean it."],
            chaos.Validate(isProduction: true));
        Assert.Empty(chaos.Validate(isProduction: false));
        chaos.AllowInProduction = true;
        Assert.Empty(chaos.Validate(isProduction: true));
    }

    [Fact]
    public void Validate_ChaosRatesOutside0To1_NamesBundleAndValue()
    {
        var chaos = new ChaosOptions { Bundles = { ["a"] = new BundleChaos { FaultRate = -0.5, InvalidOutputRate = 2 } } };
        Assert.Equal(
            ["Chaos:Bundles:a:FaultRate is -0.5; it must be 0 to 1.", "Chaos:Bundles:a:InvalidOutputRate is 2; it must be 0 to 1."],
            chaos.Validate(isProduction: false));
    }

    [Fact]
    public void Validate_ChaosLatencyOutOfRange_NamesBundleAndValue()
    {
        var chaos = new ChaosOptions { Bundles = { ["a"] = new BundleChaos { LatencyRate = 2, Latency = TimeSpan.FromSeconds(61) } } };
        Assert.Equal(
            ["Chaos:Bundles:a:LatencyRate is 2; it must be 0 to 1.", "Chaos:Bundles:a:Latency is 00:01:01; it must be 00:00:00 to 00:01:00."],
            chaos.Validate(isProduction: false));
    }

    [Fact]
    public void For_BundleWithSlowCallsAndTrialsOfItsOwn_TakesThem()
    {
        var own = new BreakerOverride { SlowCallMicros = 70, SlowCallRatio = 0.3, TrialCalls = 9 };
        var taken = new BreakerOptions { Bundles = { ["roots"] = own } }.For("roots");
        Assert.Equal((70, 0.3, 9), (taken.SlowCallMicros, taken.SlowCallRatio, taken.TrialCalls));
    }

    [Fact]
    public void For_ChaosNotEnabled_InjectsNothing()
    {
        var chaos = new ChaosOptions { Bundles = { ["roots"] = new BundleChaos { FaultRate = 1 } } };
        Assert.Null(chaos.For("roots"));
        chaos.Enabled = true;
        Assert.NotNull(chaos.For("roots"));
        Assert.Null(chaos.For("numbers"));
    }
}
