namespace SafetyFilter.Tests;

/// <summary>How much a slow test does: enough for every build, or as much as SAFETYFILTER_LONG=1 asks for.</summary>
internal static class LongRun
{
    public static bool IsAskedFor { get; } = Environment.GetEnvironmentVariable("SAFETYFILTER_LONG") == "1";

    public static int Count(int usually, int whenLong) => IsAskedFor ? whenLong : usually;
}
