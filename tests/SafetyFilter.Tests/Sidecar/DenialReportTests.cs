using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Sidecar.Operations;
using SafetyFilter.Tests.Ledger;
using Kind = SafetyFilter.Lineage.V1.SecurityEvent.Types.Kind;

namespace SafetyFilter.Tests.Sidecar;

public sealed class DenialReportTests : IDisposable
{
    private const string Method = "/safetyfilter.v1.Operations/GetStatus";

    private readonly LedgerFolder _folder = new();
    private readonly FakeTimeProvider _time = new();
    private readonly Spool _spool;
    private readonly DenialReport _report;

    public DenialReportTests()
    {
        _spool = _folder.Open();
        _report = new DenialReport(new OperationsJournal(_spool, _time), _time, NullLogger<DenialReport>.Instance);
    }

    public void Dispose()
    {
        _report.Dispose();
        _spool.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void Count_ABurstThatEnds_IsToldAtOnceAndTheRestWithinASecond()
    {
        Deny("10.0.0.1");
        Assert.Equal([("10.0.0.1", 1UL)], Told());
        for (var i = 0; i < 41; i++)
        {
            Deny("10.0.0.1");
        }

        Assert.Single(Told());
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal([("10.0.0.1", 1UL), ("10.0.0.1", 41UL)], Told());

        // Nothing more came of it.
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(2, Told().Count);
        Deny("10.0.0.1");
        Assert.Equal(("10.0.0.1", 1UL), Told()[^1]);
    }

    [Fact]
    public void Count_ABurstThatGoesOn_IsToldOnceASecondAndNothingIsLost()
    {
        for (var tenth = 0; tenth < 100; tenth++)
        {
            Deny("10.0.0.1");
            _time.Advance(TimeSpan.FromMilliseconds(100));
        }

        _time.Advance(TimeSpan.FromSeconds(1));
        var told = Told();
        Assert.InRange(told.Count, 10, 12);
        Assert.Equal(100UL, told.Aggregate(0UL, static (sum, one) => sum + one.Attempts));
    }

    [Fact]
    public void Count_TwoCallers_EachIsToldWhenItsOwnSecondIsOver()
    {
        Deny("10.0.0.1");
        Deny("10.0.0.1");
        _time.Advance(TimeSpan.FromMilliseconds(700));
        Deny("10.0.0.2");
        Deny("10.0.0.2");
        Deny("10.0.0.2");

        _time.Advance(TimeSpan.FromMilliseconds(300));
        Assert.Equal([("10.0.0.1", 1UL), ("10.0.0.2", 1UL), ("10.0.0.1", 1UL)], Told());
        _time.Advance(TimeSpan.FromMilliseconds(700));
        Assert.Equal(("10.0.0.2", 2UL), Told()[^1]);
    }

    [Fact]
    public void Count_FromThousandsOfAddresses_TellsOfBoundedlyManyAndCountsAll()
    {
        for (var caller = 0; caller < 5_000; caller++)
        {
            Deny($"caller {caller}");
        }

        _time.Advance(TimeSpan.FromSeconds(1));
        var told = Told();
        Assert.InRange(told.Count, 1, 300);
        Assert.Equal(5_000UL, told.Aggregate(0UL, static (sum, one) => sum + one.Attempts));
        Assert.Contains(told, static one => one.Caller == "others");
    }

    [Fact]
    public void TellAll_BeforeTheSecondIsOver_LeavesNothingUntold()
    {
        Deny("10.0.0.1");
        Deny("10.0.0.1");
        _report.TellAll();
        Assert.Equal([("10.0.0.1", 1UL), ("10.0.0.1", 1UL)], Told());
    }

    private void Deny(string caller) => _report.Count(Kind.Unauthenticated, caller, Method);

    private List<(string Caller, ulong Attempts)> Told()
    {
        var told = new List<(string, ulong)>();
        using var reader = SpoolReader.OpenStream(_folder.Stream, follow: true);
        while (reader.Read() == SpoolRead.Record)
        {
            if (reader.Type == RecordType.SecurityEvent)
            {
                var denial = SecurityEvent.Parser.ParseFrom(reader.Payload);
                Assert.Equal(Method, denial.Method);
                told.Add((denial.Caller, denial.Attempts));
            }
        }

        return told;
    }
}
