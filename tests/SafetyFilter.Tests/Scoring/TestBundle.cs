using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Scoring;

/// <summary>A bundle folder under a temporary root: right unless a test changes its manifest, golden file or model before <see cref="Load"/>.</summary>
internal sealed class TestBundle : IDisposable
{
    private readonly string _root;
    private readonly bool _ownsRoot;

    public TestBundle(byte[] model, string features, string name = "numbers", string[]? labels = null, string? root = null, string version = "1.0.0")
    {
        labels ??= ["alpha"];
        _ownsRoot = root is null;
        _root = root ?? Directory.CreateTempSubdirectory("safetyfilter-bundle-").FullName;
        Folder = Path.Combine(_root, name, version);
        Model = model;
        var classifiers = new JsonObject();
        var expected = new JsonObject();
        foreach (var label in labels)
        {
            expected[label] = new JsonArray(0.5);
            classifiers[label] = JsonNode.Parse("""
                { "description": "Finds something.", "maxAction": "block", "calibration": { "method": "platt", "a": 1.5, "b": 0 },
                  "thresholds": { "block": 0.9, "label": 0.5 }, "measured": { "devAuc": 0.97, "note": "documentation" } }
                """);
        }

        Manifest = new JsonObject
        {
            ["schema"] = "safetyfilter.bundle/1",
            ["name"] = name,
            ["version"] = version,
            ["description"] = "A test.",
            ["owner"] = "team-trust",
            ["features"] = JsonNode.Parse(features),
            ["outputs"] = new JsonArray(new JsonObject { ["name"] = "scores", ["classifiers"] = new JsonArray([.. labels.Select(label => (JsonNode)label)]) }),
            ["classifiers"] = classifiers,
            ["purposes"] = new JsonArray("recommendation"),
            ["surfaces"] = new JsonArray("*"),
            ["expires"] = "2030-01-31",
            ["training"] = JsonNode.Parse("""{ "command": "train", "seed": 1, "datasets": [], "limits": "Everything else." }"""),
            ["unknown"] = "Documentation of a later tool.",
        };
        Golden = new JsonObject { ["tolerance"] = 0.0001, ["candidates"] = new JsonArray(new JsonObject()), ["expected"] = expected };
    }

    public string Folder { get; }

    public byte[] Model { get; set; }

    public JsonObject Manifest { get; }

    public JsonObject Golden { get; }

    /// <summary>Hashes that replace the true ones, by file name.</summary>
    public Dictionary<string, string> Hashes { get; } = new(StringComparer.Ordinal);

    public BundleLimits Limits { get; set; } = BundleLimits.Default;

    public FakeTimeProvider Time { get; } = new(new DateTimeOffset(2026, 6, 1, 0, 0, 0, TimeSpan.Zero));

    public static string EmbeddingFeature(int width, string range = "[-100, 100]") =>
        $$"""[ { "kind": "tensor", "feature": "embedding", "input": "embedding", "dtype": "float32", "shape": [{{width}}], "range": {{range}} } ]""";

    /// <summary>Sigmoid of a linear model over "embedding" [width]; its golden candidate is all zeros, which score 0.5.</summary>
    public static TestBundle Linear(float[] weights, int width, string[] labels, string name = "numbers", string? root = null, string version = "1.0.0")
    {
        var bundle = new TestBundle(Onnx.Linear(weights, width, labels.Length), EmbeddingFeature(width), name, labels, root, version);
        bundle.SetGoldenRow(new float[width]);
        return bundle;
    }

    /// <summary>One label "alpha" with weights 1 and -1 over "embedding" [2].</summary>
    public static TestBundle Simple(string name = "numbers", string? root = null, string version = "1.0.0") =>
        Linear([1, -1], 2, ["alpha"], name, root, version);

    public void SetGoldenRow(float[] row) => Golden["candidates"]![0]!["embedding"] = new JsonArray([.. row.Select(number => (JsonNode)number)]);

    public TestBundle Write()
    {
        Directory.CreateDirectory(Folder);
        var golden = Encoding.UTF8.GetBytes(Golden.ToJsonString());
        var files = Manifest["files"] as JsonObject ?? [];
        files["model.onnx"] = Hashes.GetValueOrDefault("model.onnx", Convert.ToHexStringLower(SHA256.HashData(Model)));
        files["golden.json"] = Hashes.GetValueOrDefault("golden.json", Convert.ToHexStringLower(SHA256.HashData(golden)));
        Manifest["files"] ??= files;
        File.WriteAllBytes(Path.Combine(Folder, "model.onnx"), Model);
        File.WriteAllBytes(Path.Combine(Folder, "golden.json"), golden);
        File.WriteAllText(Path.Combine(Folder, "manifest.json"), Manifest.ToJsonString());
        return this;
    }

    public LoadResult<ModelBundle> TryLoad()
    {
        Write();
        return BundleLoader.Load(Folder, Limits, Time);
    }

    public ModelBundle Load()
    {
        var loaded = TryLoad();
        Assert.True(loaded.Value is not null, loaded.Report);
        return loaded.Value;
    }

    /// <summary>Loads a bundle that must be refused, and returns why.</summary>
    public string Refusal()
    {
        var loaded = TryLoad();
        loaded.Value?.Dispose();
        Assert.Null(loaded.Value);
        Assert.NotEmpty(loaded.Errors);
        return loaded.Report;
    }

    public void Dispose()
    {
        if (_ownsRoot)
        {
            Directory.Delete(_root, recursive: true);
        }
    }
}

/// <summary>Scoring as the engine does it, for tests.</summary>
internal static class ScoringTestExtensions
{
    public static (ScoringOutcome Outcome, ScoreTable Table) Score(this ModelBundle bundle, CandidateBatch batch)
    {
        var table = new ScoreTable();
        table.Reset(bundle.Classifiers.Length, batch.Count);
        return (bundle.Score(batch, table, [.. Enumerable.Range(0, bundle.Classifiers.Length)]), table);
    }
}
