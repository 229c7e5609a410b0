using SafetyFilter.Benchmarks.Service;

namespace SafetyFilter.Tests.Benchmarks;

public sealed class WorkloadTests
{
    [Fact]
    public void Parse_Nothing_IsAllOfThem() => Assert.Equal(Workload.All, Workload.Parse(null, out _));

    [Fact]
    public void Parse_SeveralNames_TakesEachOnceInTheirOrder()
    {
        var workloads = Workload.Parse("t64, E256,t64", out var error);
        Assert.Null(error);
        Assert.Equal(["T64", "E256"], workloads.Select(workload => workload.Name));
    }

    [Theory]
    [InlineData("E257")]
    [InlineData("E256,")]
    [InlineData("")]
    public void Parse_UnknownName_SaysWhichThereAre(string list)
    {
        Assert.Empty(Workload.Parse(list, out var error));
        Assert.Contains("E256, E16, E64, E500, E256h, T64, T256, M128, Z", error, StringComparison.Ordinal);
    }

    [Fact]
    public void All_ComparedWorkloads_AreThere() =>
        Assert.All(Workload.All.Where(workload => workload.ComparedWith is not null), workload => Assert.NotNull(Workload.Named(workload.ComparedWith!)));

    [Theory]
    [InlineData(1234.5, 1200)]
    [InlineData(96.6, 97)]
    [InlineData(0.567, 0.57)]
    [InlineData(0, 1)]
    public void Round_Rate_HasTwoDigits(double rate, double expected) => Assert.Equal(expected, WorkloadRun.Round(rate), 1e-9);

    [Theory]
    [InlineData(0, 0, 2, "--server-core and --client-core are both 0")]
    [InlineData(2, 1, 2, "--server-core 2 is outside 0 to 1")]
    [InlineData(0, -1, 2, "--client-core -1 is outside 0 to 1")]
    [InlineData(0, 1, 2, null)]
    public void Error_Cores_NamesTheWrongOne(int server, int client, int processors, string? expected)
    {
        var error = new Cores(server, client).Error(processors);
        Assert.Equal(expected is null, error is null);
        Assert.Contains(expected ?? "", error ?? "", StringComparison.Ordinal);
    }

    [Fact]
    public void PathOf_SeveralWorkloads_HasTheirNames()
    {
        Assert.Equal("/tmp/load.svg", LatencyPlot.PathOf("/tmp/load.svg", Workload.All[0], 1));
        Assert.Equal("/tmp/load-E256.svg", LatencyPlot.PathOf("/tmp/load.svg", Workload.All[0], 2));
    }

    [Theory]
    [InlineData("load.SVG", true)]
    [InlineData("load.png", true)]
    [InlineData("load.pdf", false)]
    [InlineData("load", false)]
    public void Error_Plot_KnowsItsFormats(string path, bool isGood) => Assert.Equal(isGood, LatencyPlot.Error(path) is null);
}
