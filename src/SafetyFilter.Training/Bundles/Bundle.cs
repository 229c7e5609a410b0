using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using SafetyFilter.Scoring.Text;
using SafetyFilter.Training.Data;

namespace SafetyFilter.Training.Bundles;

/// <summary>A bundle folder in the making: files first, the manifest with their digests last.</summary>
internal sealed class Bundle(string root, string name, string version)
{
    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    // Embeddings by the thousand read no better one number a line.
    private static readonly JsonSerializerOptions Compact = new(Json) { WriteIndented = false };

    private readonly JsonObject _files = [];

    public string Folder { get; } = Path.Combine(root, name, version);

    public void Add(string file, byte[] content)
    {
        Directory.CreateDirectory(Folder);
        File.WriteAllBytes(Path.Combine(Folder, file), content);
        _files[file] = Convert.ToHexStringLower(SHA256.HashData(content));
    }

    public void Add(string file, JsonObject content) => Add(file, Encoding.UTF8.GetBytes(content.ToJsonString(Compact) + "\n"));

    public void WriteManifest(JsonObject details)
    {
        var manifest = new JsonObject { ["schema"] = "safetyfilter.bundle/1", ["name"] = name, ["version"] = version, ["files"] = _files };
        foreach (var (member, value) in details.ToArray())
        {
            details.Remove(member);
            manifest[member] = value;
        }

        File.WriteAllBytes(Path.Combine(Folder, "manifest.json"), JsonSerializer.SerializeToUtf8Bytes(manifest, Json));
    }

    public static JsonObject Parameters(TextFeaturizerOptions options) => new()
    {
        ["buckets"] = options.Buckets,
        ["seed"] = options.Seed,
        ["wordNgrams"] = new JsonArray([.. options.WordNgrams.Select(n => JsonValue.Create(n))]),
        ["charNgrams"] = new JsonArray([.. options.CharNgrams.Select(n => JsonValue.Create(n))]),
        ["maxFeatures"] = options.MaxFeatures,
        ["maxChars"] = options.MaxChars,
    };

    /// <summary>What was read, by digest, and under which licences.</summary>
    public static JsonObject Training(string dataFolder, int seed, string limits)
    {
        var datasets = new JsonArray();
        foreach (string file in Corpus.Files.Select(f => f.File).Append("bias_templates"))
        {
            string path = Path.Combine(dataFolder, file + ".tsv.gz");
            var entry = new JsonObject
            {
                ["file"] = file + ".tsv.gz",
                ["sha256"] = Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path))),
                ["licences"] = new JsonArray([.. Licences.Of(file).Select(l => JsonValue.Create(l))]),
            };
            if (file == "bias_templates")
            {
                entry["use"] = "report only";
            }

            datasets.Add(entry);
        }

        return new JsonObject
        {
            ["command"] = "dotnet run -c Release --project src/SafetyFilter.Training -- --data ../shared/data --out deploy/models",
            ["seed"] = seed,
            ["split"] = "weights: nine tenths of the train rows; calibration and thresholds: the remaining tenth, by digest of the text (thresholds also "
                + "look at all candidates and benign rows outside dev); dev rows: measured, and used to compare recipes (n-gram lengths, passes, decay, "
                + "weak-negative factors), so the dev figures are somewhat flattering, most of all for spam with its 754 dev rows",
            ["ownTexts"] = "harmless titles that name groups of people, and trivial texts (CounterExamples.cs); they share identity words with bias_templates, "
                + "though none of its sentences, so that report is not blind to them",
            ["datasets"] = datasets,
            ["limits"] = limits,
        };
    }
}
