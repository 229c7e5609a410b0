using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Sidecar.Reload;

namespace SafetyFilter.Tests.Sidecar.Reload;

public sealed class ContentWatchTests
{
    private readonly FakeTimeProvider _time = new();
    private readonly ContentWatch _watch;

    public ContentWatchTests() => _watch = new ContentWatch(_time);

    [Fact]
    public void IsDue_TheSameTwice_IsDueUntilTaken()
    {
        Assert.False(_watch.IsDue("a"));
        Assert.True(_watch.IsDue("a"));
        _watch.Take("a");
        Assert.False(_watch.IsDue("a"));
    }

    [Fact]
    public void IsDue_ChangesAtEveryLook_WaitsForTheEndOfIt()
    {
        Assert.Equal([false, false, false, true], new[] { "a", "ab", "abc", "abc" }.Select(_watch.IsDue));
    }

    [Fact]
    public void IsDue_BackToWhatWasTakenBefore_IsDue()
    {
        _ = _watch.IsDue("good");
        _watch.Take("good");
        _ = _watch.IsDue("bad");
        _ = _watch.IsDue("bad");
        _watch.Take("bad");
        Assert.Equal([false, true], new[] { "good", "good" }.Select(_watch.IsDue));
    }

    [Fact]
    public void IsDue_Postponed_IsDueAgainAfterPausesThatGrowToALimit()
    {
        _ = _watch.IsDue("a");
        foreach (var seconds in new[] { 1, 2, 4, 8, 10, 10 })
        {
            _watch.Postpone("a");
            _time.Advance(TimeSpan.FromSeconds(seconds) - TimeSpan.FromMilliseconds(1));
            Assert.False(_watch.IsDue("a"));
            _time.Advance(TimeSpan.FromMilliseconds(1));
            Assert.True(_watch.IsDue("a"));
        }

        _watch.Take("a");
        _time.Advance(TimeSpan.FromHours(1));
        Assert.False(_watch.IsDue("a"));
    }

    [Fact]
    public void IsDue_EditedWhilePostponed_IsDueWithoutAPause()
    {
        _ = _watch.IsDue("a");
        _watch.Postpone("a");
        _ = _watch.IsDue("b");
        Assert.True(_watch.IsDue("b"));
    }
}
