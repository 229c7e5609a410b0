using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Sidecar.Hosting;
using SafetyFilter.Sidecar.Reload;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Sidecar.Reload;

/// <summary>The sidecar's own services on the reference models, without its listeners: files are edited, looks are called.</summary>
internal sealed class ReloadBench : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-reload-");
    private readonly WebApplication _app;
    private readonly ProtoWriter _record = new();

    /// <param name="settings">Of the operator's file.</param>
    /// <param name="maxRecordBytes">The largest record that the ledger takes.</param>
    public ReloadBench(object? settings = null, int maxRecordBytes = 100_000)
    {
        Directory.CreateDirectory(Policies);
        WritePolicy(Policy("0.9"));
        WriteSettings(settings ?? new { });
        var models = Path.Combine(SourceTree.Root, "deploy", "models");
        string[] args =
        [
            "--settings", SettingsPath, "--Policies:Folder", Policies, "--Models:Folder", models, "--Ledger:Spool:Folder", Spool,
            "--Ledger:Spool:SegmentBytes", "4194304", "--Ledger:Spool:MaxRecordBytes", maxRecordBytes.ToString(CultureInfo.InvariantCulture), "--Ledger:Archive:Folder", "archive",
            "--Logging:LogLevel:Default", "None",
        ];
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions
        {
            Args = args,
            ContentRootPath = Path.Combine(SourceTree.Root, "src", "SafetyFilter.Sidecar"),
            EnvironmentName = "Test",
        });
        var files = SettingsFiles.Insert(builder.Configuration, args, builder.Environment.ContentRootPath, "Test");
        var (merged, errors) = files.Merge(files.Read());
        Assert.Empty(errors);
        files.Publish(merged!);
        (var options, errors) = SidecarOptions.Read(SettingsFiles.Bindable(merged!), isProduction: false);
        Assert.Empty(errors);
        builder.AddSidecar(options!, files, merged!);
        builder.Services.AddSingleton<TimeProvider>(Time);
        _app = builder.Build();

        var (loaded, loadErrors) = Get<ServingLoader>().Load();
        Assert.Empty(loadErrors);
        Get<BreakerBoard>().Commit(loaded!.Snapshot.Breakers!);
        Serving.Swap(loaded.Snapshot);
        Reload.Begin(loaded);
    }

    /// <summary>Of the services; the ledger has the machine's.</summary>
    public FakeTimeProvider Time { get; } = new(DateTimeOffset.UtcNow);

    public string Policies => Path.Combine(_folder.FullName, "policies");

    public string SettingsPath => Path.Combine(_folder.FullName, "settings.json");

    public ReloadService Reload => Get<ReloadService>();

    public ServingStore Serving => Get<ServingStore>();

    public SurfacePlan Plan => Serving.Current!.Plans.Single();

    public T Get<T>()
        where T : notnull => _app.Services.GetRequiredService<T>();

    public static string Policy(string threshold, string more = "") => $$"""
        policy: titles
        owner: team
        surfaces: [titles]
        budget_us: 1000000
        classifiers: { text-safety/hate: { fail: closed } }
        rules:
          - { id: hate, when: { score: text-safety/hate, at_least: {{threshold}} }, action: block, reason: HATE{{more}} }
        """;

    public string Spool => Path.Combine(_folder.FullName, "spool");

    public void WritePolicy(string text) => File.WriteAllText(Path.Combine(Policies, "titles.yaml"), text);

    public void WriteSettings(object settings) => File.WriteAllText(SettingsPath, JsonSerializer.Serialize(settings));

    /// <summary>Looks until the files must have been taken, if they are to be.</summary>
    public async Task LookAsync()
    {
        for (var look = 0; look < 3; look++)
        {
            await Reload.LookAsync(TestContext.Current.CancellationToken);
        }
    }

    public void Decide()
    {
        var decision = new Decision { BudgetMicros = uint.MaxValue };
        BatchBuilder.Of(1, decision.Batch).Request(surface: "titles").Text("text", "Ten quiet walks").Build();
        var refusal = Get<FilterEngine>().Decide(decision, _record, out _);
        Assert.True(refusal is null, refusal?.Message);

        // The run itself has the machine's clock: one that is cut by it says nothing of a policy.
        Assert.Equal(FailureKind.None, decision.Runs[0].Failure);
    }

    public List<T> Records<T>(RecordType type, Google.Protobuf.MessageParser<T> parser)
        where T : Google.Protobuf.IMessage<T>
    {
        var records = new List<T>();
        using var reader = SpoolReader.OpenStream(Get<Spool>().StreamFolder, follow: true);
        while (reader.Read() == SpoolRead.Record)
        {
            if (reader.Type == type)
            {
                records.Add(parser.ParseFrom(reader.Payload));
            }
        }

        return records;
    }

    public List<Change> Changes() => Records(RecordType.Change, Change.Parser);

    public void Dispose()
    {
        ((IDisposable)_app).Dispose();
        _folder.Delete(recursive: true);
    }
}
