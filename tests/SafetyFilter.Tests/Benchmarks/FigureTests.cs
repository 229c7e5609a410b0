using System.Diagnostics;
using SafetyFilter.Benchmarks.Service;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Benchmarks;

public sealed class FigureTests
{
    [Fact]
    public void Due_Request_IsAtItsMultipleOfThePeriodWhateverCameBefore()
    {
        var schedule = new Schedule(start: 1_000, rate: 400, TimeSpan.FromSeconds(2.5));
        Assert.Equal(1_000, schedule.Count);
        Assert.Equal(1_000, schedule.Due(0));
        Assert.Equal(1_000 + Stopwatch.Frequency, schedule.Due(400));
        Assert.Equal(1_000 + (2 * Stopwatch.Frequency), schedule.Due(800));
    }

    [Fact]
    public void Count_ShortSchedule_IsAtLeastOne() => Assert.Equal(1, new Schedule(0, 0.5, TimeSpan.FromSeconds(1)).Count);

    [Fact]
    public void SleepUntil_Instant_IsNotOverBefore()
    {
        var due = Stopwatch.GetTimestamp() + (Stopwatch.Frequency / 200);
        Schedule.SleepUntil(due);
        Assert.True(Stopwatch.GetTimestamp() >= due);
    }

    [Fact]
    public void Median_OfRounds_IsThatOfTheirRatiosAndNotTheRatioOfMedians()
    {
        double[] left = [10, 100, 30];
        double[] right = [10, 20, 10];

        // The rounds say 1, 5 and 3; the medians alone would say 3 / 1.
        Assert.Equal(3, Ratios.Median(left, right, static (l, r) => l / r));
        Assert.Equal(1.5, Ratios.Median(left, right, right, static (l, m, r) => l / (m + r)));
    }

    [Theory]
    [InlineData(1.15, false, true)]
    [InlineData(1.16, false, false)]
    [InlineData(1.16, true, true)]
    [InlineData(1.14, true, false)]
    [InlineData(double.NaN, false, null)]
    public void IsReached_Goal_ComparesItsOwnWay(double value, bool atLeast, bool? expected) =>
        Assert.Equal(expected, new Ratio("r", "sidecar", value, 1.15, atLeast).IsReached);

    [Fact]
    public void IsReached_NoGoal_IsNothing() => Assert.Null(new Ratio("r", "sidecar", 1).IsReached);

    [Fact]
    public void Add_Answers_CountsFaultsAndSlowOnes()
    {
        var slice = new Slice { Elapsed = TimeSpan.FromSeconds(2), Cpu = 1_000_000_000, CoreIdle = 600_000_000 };
        slice.Add(new FilterReply(10, 2, true, 1_001), degraded: false, lateNanos: 0, roundTripNanos: 2_000_000);
        slice.Add(new FilterReply(10, 2, true, 1_000), degraded: true, lateNanos: 5, roundTripNanos: 1_000_000);
        slice.Fail("Unavailable");
        Assert.Equal(2, slice.Answered);
        Assert.Equal(1, slice.OverMillisecond);
        Assert.Equal([new("Unavailable", 1), new("degraded", 1)], slice.Faults);
        Assert.Equal(500_000, slice.CpuMicros);
        Assert.Equal(1, slice.Throughput);
        Assert.Equal(0.5, slice.Utilisation);
        Assert.Equal(0.2, slice.OthersShare, 1e-9);
        Assert.Equal(1_001, Ratios.Micros(slice.Engine, 100), 1.0);
    }

    [Fact]
    public void Parse_PrometheusText_FindsBytesAndCollections()
    {
        var counters = RuntimeCounters.Parse("""
            # TYPE dotnet_gc_collections_total counter
            dotnet_gc_collections_total{otel_scope_name="System.Runtime",gc_heap_generation="gen0"} 41 1764187200000
            dotnet_gc_collections_total{otel_scope_name="System.Runtime",gc_heap_generation="gen1"} 7 1764187200000
            dotnet_gc_collections_total{otel_scope_name="System.Runtime",gc_heap_generation="gen2"} 3 1764187200000
            dotnet_gc_heap_total_allocated_bytes_total{otel_scope_name="System.Runtime"} 5.5E+6 1764187200000
            """);
        Assert.Equal(new RuntimeCounters(5_500_000, 41, 7, 3), counters);
        Assert.Equal(new RuntimeCounters(4_500_000, 1, 2, 3), counters - new RuntimeCounters(1_000_000, 40, 5, 0));
    }

    [Fact]
    public void Parse_OtherText_IsNothing() => Assert.Null(RuntimeCounters.Parse("up 1\n"));

    [Fact]
    public void Parse_ProcStat_AddsIdleAndWaitingOfTheCore()
    {
        string[] lines = ["cpu  9 9 9 9 9 0 0 0 0 0", "cpu1 1 2 3 40 5 6 7 8 0 0", "cpu11 1 1 1 1 1 1 1 1 0 0"];
        Assert.Equal(450_000_000, CoreClock.Parse(lines, 1));
        Assert.Contains("cpu2", Assert.Throws<FormatException>(() => CoreClock.Parse(lines, 2)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void OfProcess_ThisOne_IsAtLeastWhatThisThreadUsed()
    {
        var thread = CpuClock.OfThisThread();
        Assert.InRange(thread, 1, CpuClock.OfProcess(Environment.ProcessId));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Read_Answer_FindsVerdictsAndEngineTime(bool streamed)
    {
        var reply = FilterReply.Read(Answer(streamed, degraded: false), streamed);
        Assert.Equal((3, true, 321u), (reply.Verdicts, reply.IsEvaluated, reply.EngineMicros));
        Assert.False(FilterReply.Read(Answer(streamed, degraded: true), streamed).IsEvaluated);
    }

    [Fact]
    public void Read_RefusalOnAStream_HasNoVerdict()
    {
        var writer = new ProtoWriter();
        var mark = writer.Begin(2);
        writer.UInt32(2, 8);
        writer.End(mark);
        Assert.Equal(0, FilterReply.Read(writer.Written, streamed: true).Verdicts);
    }

    [Fact]
    public void Read_CutAnswer_HasNoVerdict()
    {
        var whole = Answer(streamed: false, degraded: false);
        var reply = FilterReply.Read(whole.AsSpan(0, whole.Length - 40), streamed: false);
        Assert.Equal((0, false), (reply.Verdicts, reply.IsEvaluated));
    }

    private static byte[] Answer(bool streamed, bool degraded)
    {
        var writer = new ProtoWriter();
        var mark = streamed ? writer.Begin(1) : 0;
        writer.Bytes(1, "a-request"u8);
        writer.PackedBytes(2, [1, 5, 1]);
        if (degraded)
        {
            writer.Bytes(7, [8, 1]);
        }

        writer.UInt32(12, 321);
        writer.Bytes(10, new byte[64]);
        if (streamed)
        {
            writer.End(mark);
        }

        return writer.Written.ToArray();
    }
}
