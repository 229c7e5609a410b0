using SafetyFilter.Admission;

namespace SafetyFilter.Tests.Admission;

public sealed class AdmissionOptionsTests
{
    [Fact]
    public void Validate_Defaults_AreRightAndFitTheCores()
    {
        var options = new AdmissionOptions();
        Assert.Empty(options.Validate());
        Assert.Equal((Environment.ProcessorCount, 64 * Environment.ProcessorCount), (options.EffectivePlaces, options.EffectiveMaxWaiting));
    }

    [Fact]
    public void Validate_EverythingOutOfRange_NamesValuesAndRanges() => Assert.Equal(
        [
            "Admission:Places is -1; it must be 0 (one per core) to 1024.",
            "Admission:MaxWait is 00:02:00; it must be 0 to 00:01:00.",
            "Admission:MaxWaiting is 100000; it must be 0 (64 per place) to 65536.",
            "Admission:MaxRequests is 0; it must be 1 to 100000.",
        ],
        new AdmissionOptions { Places = -1, MaxWait = TimeSpan.FromMinutes(2), MaxWaiting = 100_000, MaxRequests = 0 }.Validate());
}
