using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Admission;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Observability;

namespace SafetyFilter.Tests.Sidecar;

public sealed class AdmissionTests : IDisposable
{
    private readonly FakeTimeProvider _time = new();
    private readonly Meter _meter = new("admission-tests");
    private readonly ShedReport _report;
    private readonly SafetyFilter.Sidecar.Grpc.Admission _admission;

    public AdmissionTests()
    {
        _report = new ShedReport(static _ => true, _time, NullLogger<ShedReport>.Instance);
        _admission = new SafetyFilter.Sidecar.Grpc.Admission(
            new AdmissionOptions { Places = 1 }, new ServingStore(), _report, new FilterMetrics(_meter), _meter, _time);
    }

    public void Dispose()
    {
        _admission.Dispose();
        _report.Dispose();
        _meter.Dispose();
    }

    [Fact]
    public void TryEnter_APlaceIsFree_IsTakenHoweverLongWorkTookBefore()
    {
        Assert.True(_admission.TryEnter(DateTime.MaxValue, out var entered));
        _time.Advance(TimeSpan.FromSeconds(10));
        _admission.Leave(entered);

        var deadline = _time.GetUtcNow().UtcDateTime + TimeSpan.FromMilliseconds(5);

        Assert.True(_admission.TryEnter(deadline, out _));
    }

    [Fact]
    public void TryEnter_TheDeadlineIsOver_TakesNoPlace()
    {
        Assert.False(_admission.TryEnter(_time.GetUtcNow().UtcDateTime, out _));
        Assert.Equal(0, _admission.Read().InFlight);
    }

    [Fact]
    public async Task Enter_CallerGoesWhileItWaits_LeavesAndIsNotShed()
    {
        Assert.True(_admission.TryEnter(DateTime.MaxValue, out var entered));
        using var going = new CancellationTokenSource();
        var waiting = _admission.Enter(new Decision(), DateTime.MaxValue, going.Token);
        Assert.Equal(1, _admission.Read().Waiting);

        await going.CancelAsync();

        Assert.Equal(ShedReason.CallerGone, (await waiting).Reason);
        _admission.Leave(entered);
        Assert.Equal((0, 1, 0, 0L, 0L), _admission.Read());
    }

    [Fact]
    public async Task Enter_CallerHasGoneAndAPlaceIsFree_TakesNone()
    {
        Assert.Equal(ShedReason.CallerGone, (await _admission.Enter(new Decision(), DateTime.MaxValue, new CancellationToken(canceled: true))).Reason);
        Assert.Equal(0, _admission.Read().InFlight);
    }

    [Fact]
    public async Task Enter_DeadlineEndsInTheLine_WaitedTooLongAndIsNoCallerThatWent()
    {
        Assert.True(_admission.TryEnter(DateTime.MaxValue, out _));
        using var ending = new CancellationTokenSource();
        var deadline = _time.GetUtcNow().UtcDateTime + TimeSpan.FromMilliseconds(5);
        var waiting = _admission.Enter(new Decision(), deadline, ending.Token);
        _time.Advance(TimeSpan.FromMilliseconds(5));
        await ending.CancelAsync();

        Assert.Equal(ShedReason.WaitedTooLong, (await waiting).Reason);
    }
}
