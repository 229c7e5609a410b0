using System.Diagnostics;
using System.Text.Json;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Reload;

/// <summary>A sidecar with one policy and one settings file, both to be edited while it serves.</summary>
/// <remarks>Every number makes another policy: its rule's name and its budget tell which one answered.</remarks>
internal sealed class ReloadingSidecar : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-reloading-");

    private ReloadingSidecar()
    {
    }

    public SidecarProcess Sidecar { get; private set; } = null!;

    public Wire Wire { get; private set; } = null!;

    public string Folder => _folder.FullName;

    public string Policies => Path.Combine(Folder, "policies");

    public string PolicyFile => Path.Combine(Policies, "titles.yaml");

    public string SettingsFile => Path.Combine(Folder, "settings.json");

    public static async Task<ReloadingSidecar> StartAsync(object settings, params (string, string)[] environment)
    {
        var reloading = new ReloadingSidecar();
        Directory.CreateDirectory(reloading.Policies);
        if (!File.Exists(reloading.PolicyFile))
        {
            await File.WriteAllTextAsync(reloading.PolicyFile, Policy(0));
        }

        reloading.WriteSettings(settings);
        reloading.Sidecar = await SidecarProcess.StartAsync(
        [
            ("Policies__Folder", reloading.Policies), ("SettingsFile", reloading.SettingsFile), ("Reload__PollInterval", "00:00:00.050"), .. environment,
        ]);
        reloading.Wire = Wire.Unix(reloading.Sidecar.UnixSocket);
        return reloading;
    }

    public static uint Budget(int number) => 900_000 + (uint)number;

    public static string Rule(int number) => $"rule-{number}";

    public static string Policy(int number) => $$"""
        policy: titles
        owner: team
        surfaces: [titles]
        budget_us: {{Budget(number)}}
        classifiers: { text-safety/hate: { fail: open } }
        rules:
          - { id: {{Rule(number)}}, when: { score: text-safety/hate, at_least: 0.000001 }, action: { label: seen }, reason: SEEN }
        # Nobody reads this, but it makes the file long enough to be written in pieces: {{new string('-', 200)}}
        """;

    public void WriteSettings(object settings)
    {
        var aside = SettingsFile + ".tmp";
        File.WriteAllText(aside, JsonSerializer.Serialize(settings));
        File.Move(aside, SettingsFile, overwrite: true);
    }

    public void RenamePolicy(int number) => RenamePolicy(Policy(number));

    public void RenamePolicy(string text)
    {
        var aside = Path.Combine(Folder, "next.yaml");
        File.WriteAllText(aside, text);
        File.Move(aside, PolicyFile, overwrite: true);
    }

    public Task<FilterResponse> AskAsync() => Wire.FilterAsync(Wire.Page("page", "titles", "Ten quiet walks"));

    /// <summary>Asks until a policy answers. Returns how long that took.</summary>
    public Task<TimeSpan> UntilServesAsync(int number) => UntilAsync(async () => (await AskAsync()).BudgetMicros == Budget(number), $"policy {number} serves");

    /// <summary>Asks until something holds; at most half a minute, for a machine that is busy otherwise.</summary>
    public static async Task<TimeSpan> UntilAsync(Func<Task<bool>> holds, string what)
    {
        var since = Stopwatch.GetTimestamp();
        while (!await holds())
        {
            Assert.True(Stopwatch.GetElapsedTime(since) < TimeSpan.FromSeconds(30), $"Not within 30 s: {what}");
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }

        return Stopwatch.GetElapsedTime(since);
    }

    public List<Change> Changes() => [.. SpoolRecords.Read(Sidecar.Spool)
        .Where(static record => record.Type == RecordType.Change)
        .Select(static record => Change.Parser.ParseFrom(record.Bytes))];

    public async ValueTask DisposeAsync()
    {
        Wire?.Dispose();
        if (Sidecar is not null)
        {
            await Sidecar.DisposeAsync();
        }

        _folder.Delete(recursive: true);
    }
}
