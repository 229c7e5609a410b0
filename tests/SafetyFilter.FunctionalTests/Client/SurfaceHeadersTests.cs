using SafetyFilter.Client;

namespace SafetyFilter.FunctionalTests.Client;

public sealed class SurfaceHeadersTests
{
    [Fact]
    public void Of_TheSameNameTwice_GivesTheSameHeaders()
    {
        var headers = new SurfaceHeaders();

        Assert.Same(headers.Of("for-you"), headers.Of(new string("for-you")));
        Assert.Equal("for-you", headers.Of("for-you")!.GetValue("safetyfilter-surface"));
        Assert.Equal("kids", headers.Of("kids")!.GetValue("safetyfilter-surface"));
    }

    [Fact]
    public void Of_MoreNamesThanAreKept_NamesThemAllAndKeepsTheFirst()
    {
        var headers = new SurfaceHeaders(mostKept: 1);

        var kept = headers.Of("a");
        Assert.NotSame(headers.Of("b"), headers.Of("b"));
        Assert.Equal("b", headers.Of("b")!.GetValue("safetyfilter-surface"));
        Assert.Same(kept, headers.Of("a"));
    }

    [Theory]
    [InlineData("")]
    [InlineData("für-dich")]
    [InlineData(" home")]
    [InlineData("home\r\nx: y")]
    [InlineData("home\0")]
    [InlineData("a-name-of-65-letters-is-longer-than-a-surface-may-be-called-indeed")]
    public void Of_NoHeaderValue_GivesNone(string surface) => Assert.Null(new SurfaceHeaders().Of(surface));

    [Theory]
    [InlineData("for-you")]
    [InlineData("für-dich")]
    public async Task FilterAsync_Surface_ArrivesAsHeaderWhereItCanBeOne(string surface)
    {
        await using var fake = await FakeSidecar.StartAsync(FakeSidecar.Allow);
        using var client = SafetyFilterClient.Connect("unix:" + fake.Socket, new SafetyFilterClientOptions { Deadline = TimeSpan.FromSeconds(30), FailMode = LocalFailMode.Throw });
        var query = new FilterQuery { Surface = surface };
        query.AddCandidate("a");

        Assert.False((await client.FilterAsync(query, TestContext.Current.CancellationToken)).IsLocal);

        Assert.Equal(surface == "for-you" ? surface : "", fake.LastSurface);
    }
}
