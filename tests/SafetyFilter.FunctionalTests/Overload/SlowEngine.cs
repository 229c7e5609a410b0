using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Overload;

/// <summary>A sidecar whose engine takes a known time, so that its capacity is known too, and three surfaces for who goes first.</summary>
internal static class SlowEngine
{
    public const string Usual = "usual";
    public const string Low = "low";
    public const string High = "high";
    public const string ByFailMode = "by-fail-mode";

    public static Task<SidecarProcess> StartAsync(TimeSpan service, params (string Key, string Value)[] settings) =>
        StartAsync(service, [Usual, Low, High, ByFailMode], settings);

    public static async Task<SidecarProcess> StartAsync(TimeSpan service, string[] surfaces, params (string Key, string Value)[] settings)
    {
        var folder = Directory.CreateTempSubdirectory("sf-overload-");
        foreach (var surface in surfaces)
        {
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, surface + ".yaml"), $$"""
                policy: {{surface}}
                owner: test
                surfaces: [{{surface}}]
                {{KeysOf(surface)}}
                budget_us: 1000000
                classifiers: { text-safety/hate: { fail: closed } }
                rules:
                  - { id: hate, when: { score: text-safety/hate, at_least: 0.9 }, action: block, reason: HATE }
                """);
        }

        try
        {
            // Policies are read once, at the start.
            return await SidecarProcess.StartAsync(
                [
                    ("Policies__Folder", folder.FullName),
                    ("Chaos__Enabled", "true"),
                    ("Chaos__Bundles__text-safety__Latency", service.ToString()),
                    ("Chaos__Bundles__text-safety__LatencyRate", "1"),
                    .. settings,
                ]);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    public static FilterRequest Page(string id, string surface) => Wire.Page(id, surface, "Ten quiet walks");

    private static string KeysOf(string surface) => surface switch
    {
        Low => "priority: low",
        High => "priority: high",
        ByFailMode => "overload: fail-mode",
        _ => "",
    };
}
