using Google.Protobuf;
using SafetyFilter.Cli.Operations;
using SafetyFilter.Operations.V1;
using Spectre.Console;

namespace SafetyFilter.FunctionalTests.Operations;

/// <summary>What an operator sees in a terminal.</summary>
public sealed class StatusViewTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Of_BusySidecarOn80Columns_CutsNoHeadingAndNoNumber(bool isRate)
    {
        var text = Render(StatusView.Of(Busy(2), isRate ? Busy(1) : null));

        Assert.DoesNotContain('…', text);
        Assert.All(text.Split('\n'), static line => Assert.InRange(line.Length, 0, 80));
        foreach (var heading in (string[])["candidates", "over", "age-restrict", "turned away", "served by fail mode", "unsent", "24 h", "4 TiB", "lost"])
        {
            Assert.Contains(heading, text, StringComparison.Ordinal);
        }

        Assert.Contains(isRate ? " 87,654,321 " : " 175,308,642 ", text, StringComparison.Ordinal);
    }

    // Two looks a second apart.
    private static SidecarStatus Busy(uint look) => new()
    {
        TimeUnixNanos = look * 1_000_000_000UL,
        Serving = true,
        Build = "1.2.3",
        Surfaces = { new SurfaceStatus { Name = "for-you", Policy = "for-you", PolicyRevision = "d67231ec00", Requests = look * 343_210, Candidates = look * 87_654_321, OverBudget = look * 12, EngineMicros = look, BudgetMicros = look * 2 } },
        Breakers = { new BreakerStatus { Bundle = "embedding-safety", State = BreakerStatus.Types.State.Closed, Calls = 343_210, Surfaces = { "for-you", "home" } } },
        Admission = new AdmissionStatus { Limit = 64, Refused = look * 1_000_000, ServedByFailMode = look * 1_000_000 },
        Ledger = new LedgerStatus
        {
            StreamId = ByteString.CopyFrom(new byte[16]),
            Epoch = 12,
            LastSequence = look * 10_000_000,
            DurableSequence = look * 10_000_000 - 900,
            SignedSize = look * 10_000_000 - 1_200,
            Kafka = true,
            Unpublished = 1_000_000,
            OldestUnpublishedMillis = 86_400_000,
            FreeBytes = 4L << 40,
        },
        Reload = new ReloadStatus(),
    };

    private static string Render(Spectre.Console.Rendering.IRenderable view)
    {
        using var output = new StringWriter();
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors, Out = new AnsiConsoleOutput(output) });
        console.Profile.Width = 80;
        console.Write(view);
        return output.ToString();
    }
}
