using SafetyFilter.Sidecar.Reload;

namespace SafetyFilter.Tests.Sidecar.Reload;

public sealed class ContentWatchTests
{
    private readonly ContentWatch _watch = new();

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
    public void IsDue_Forgotten_IsDueAgain()
    {
        _ = _watch.IsDue("a");
        _watch.Take("a");
        _watch.Forget();
        Assert.True(_watch.IsDue("a"));
    }
}
