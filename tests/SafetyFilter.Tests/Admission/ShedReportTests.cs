using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Admission;

namespace SafetyFilter.Tests.Admission;

public sealed class ShedReportTests
{
    private static readonly DateTimeOffset Start = new(2026, 6, 1, 0, 0, 0, TimeSpan.Zero);

    private readonly FakeTimeProvider _time = new(Start);
    private readonly List<ShedCounts> _records = [];

    [Fact]
    public void Count_ManyWithinASecond_MakeOneRecordASecond()
    {
        using var report = NewReport();
        report.Count(servedByFailMode: false);
        _time.Advance(TimeSpan.FromMilliseconds(400));
        report.Count(servedByFailMode: false);
        report.Count(servedByFailMode: true);
        Assert.Empty(_records);

        _time.Advance(TimeSpan.FromMilliseconds(600));
        Assert.Equal([new ShedCounts(Start, Start.AddMilliseconds(400), 2, 1)], _records);

        _time.Advance(TimeSpan.FromSeconds(5));
        Assert.Single(_records);
        report.Count(servedByFailMode: false);
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(new ShedCounts(Start.AddSeconds(6), Start.AddSeconds(6), 1, 0), _records[^1]);
    }

    [Fact]
    public void Tell_BeforeTheSecondIsOver_LeavesNothingUntold()
    {
        using var report = NewReport();
        report.Count(servedByFailMode: true);
        report.Tell();
        report.Tell();
        _time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal([new ShedCounts(Start, Start, 0, 1)], _records);
    }

    private ShedReport NewReport() => new(
        counts =>
        {
            _records.Add(counts);
            return true;
        },
        _time,
        NullLogger<ShedReport>.Instance);
}
