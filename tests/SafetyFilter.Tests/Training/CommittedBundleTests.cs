using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using SafetyFilter.Scoring.Text;
using SafetyFilter.Training.Bundles;
using SafetyFilter.Training.Data;
using SafetyFilter.Training.Learning;

namespace SafetyFilter.Tests.Training;

/// <summary>What the bundles in deploy/models promise, checked against the files themselves.</summary>
public sealed class CommittedBundleTests
{
    private static readonly string Models = Path.Combine(AppContext.BaseDirectory, "models");

    public static TheoryData<string> Bundles => new("text-safety", "embedding-safety");

    [Theory]
    [MemberData(nameof(Bundles))]
    public void Manifest_Files_MatchTheirDigests(string bundle)
    {
        using var manifest = Manifest(bundle);
        var files = manifest.RootElement.GetProperty("files").EnumerateObject().ToArray();
        Assert.Contains(files, file => file.Name == "model.onnx");
        Assert.Contains(files, file => file.Name == "golden.json");
        foreach (var file in files)
        {
            byte[] content = File.ReadAllBytes(Path.Combine(Models, bundle, "1.0.0", file.Name));
            Assert.Equal(file.Value.GetString(), Convert.ToHexStringLower(SHA256.HashData(content)));
            Assert.True(content.Length < 10_000_000, $"{file.Name} has {content.Length} bytes.");
        }
    }

    [Theory]
    [InlineData("text-safety", "toxicity", 0.95)]
    [InlineData("text-safety", "spam", 0.98)]
    [InlineData("text-safety", "clickbait", 0.98)]
    [InlineData("text-safety", "prompt-injection", 0.95)]
    [InlineData("embedding-safety", "toxicity", 0.95)]
    [InlineData("embedding-safety", "spam", 0.97)]
    [InlineData("embedding-safety", "clickbait", 0.98)]
    public void Manifest_DevAuc_ReachesTheGoal(string bundle, string head, double goal)
    {
        using var manifest = Manifest(bundle);
        Assert.True(Head(manifest, head).GetProperty("measured").GetProperty("devAuc").GetDouble() >= goal);
    }

    [Theory]
    [MemberData(nameof(Bundles))]
    public void Manifest_ShippedThresholds_FlagFewHarmlessTexts(string bundle)
    {
        using var manifest = Manifest(bundle);
        foreach (var head in manifest.RootElement.GetProperty("classifiers").EnumerateObject())
        {
            var shipped = head.Value.GetProperty("thresholds").EnumerateObject().ToDictionary(t => t.Name, t => t.Value.GetDouble());
            var measured = head.Value.GetProperty("measured").GetProperty("atThresholds");
            Assert.Equal(shipped.Keys.Order(), measured.EnumerateObject().Select(t => t.Name).Order());
            Assert.Equal(head.Value.GetProperty("maxAction").GetString() == "block", shipped.ContainsKey("block"));
            foreach (var at in measured.EnumerateObject())
            {
                Assert.Equal(shipped[at.Name], at.Value.GetProperty("threshold").GetDouble());
                foreach (string rate in (string[])["candidatesDevFlagged", "candidatesAllFlagged", "benignDevFlagged", "benignAllFlagged"])
                {
                    Assert.True(at.Value.GetProperty(rate).GetDouble() <= 0.03, $"{head.Name} {at.Name} {rate}");
                }

                foreach (string worst in (string[])["benignWorstGroupDev", "benignWorstGroupAll"])
                {
                    Assert.True(at.Value.GetProperty(worst).GetProperty("flagged").GetDouble() <= 0.08, $"{head.Name} {at.Name} {worst}");
                }
            }
        }
    }

    [Theory]
    [InlineData("text-safety")]
    [InlineData("embedding-safety")]
    public void Manifest_Clickbait_MayNotTakeAnythingAway(string bundle)
    {
        using var manifest = Manifest(bundle);
        Assert.Equal("demote", Head(manifest, "clickbait").GetProperty("maxAction").GetString());
    }

    [Theory]
    [InlineData("you are a worthless idiot", "you are a w\u200Borthless id\u00ADiot")]
    [InlineData("you are a worthless idiot", "YOU ARE A WORTHLESS IDIOT")]
    [InlineData("you are a worthless idiot", "you \u0430re a w\u043Erthl\u0435ss idi\u043Et")]
    [InlineData("you are a worthless idiot", "ｙｏｕ 𝖆𝖗𝖊 a wörthlëss idiöt")]
    [InlineData("you are a worthless idiot", "you are a w0rthless id1ot")]
    public void TextSafety_DisguisedInsult_ScoresAsThePlainOne(string plain, string disguised)
    {
        var scores = Score([plain, disguised, "you are a wonderful neighbour"]);
        Assert.Equal(scores[Corpus.Toxicity][0], scores[Corpus.Toxicity][1]);
        Assert.True(scores[Corpus.Toxicity][0] > 0.9);
        Assert.True(scores[Corpus.Toxicity][2] < 0.3);
    }

    [Fact]
    public void TextSafety_TrivialTexts_AreNotFlagged()
    {
        string[] texts = ["", "ok", "hello there", "My holiday in Norway", "Cooking rice", "Piano lesson 4", "Two lesbian mothers open a bakery", "Ein Tag am See"];
        var scores = Score(texts);
        using var manifest = Manifest("text-safety");
        for (int head = 0; head < Corpus.Heads.Length; head++)
        {
            var thresholds = Head(manifest, Corpus.Heads[head]).GetProperty("thresholds");
            double restricts = thresholds.GetProperty(thresholds.TryGetProperty("block", out _) ? "block" : "demote").GetDouble();
            Assert.All(scores[head], score => Assert.True(score < restricts));
        }
    }

    [Fact]
    public void TextSafety_DevSplits_ReachTheGoals()
    {
        string data = Path.Combine(RepositoryRoot(), "..", "shared", "data");
        if (!Directory.Exists(data))
        {
            Assert.Skip("The labelled data sets are not here (../shared/data); the figures in the manifest stand unchecked.");
        }

        foreach (var (head, goal) in ((int, double)[])[(Corpus.Toxicity, 0.95), (Corpus.Spam, 0.98), (Corpus.Clickbait, 0.98), (Corpus.Injection, 0.95)])
        {
            var (file, label, _) = Corpus.Files.First(f => f.Head == head);
            var dev = Corpus.Load(data, file, label, head).Where(s => s.Fold == Fold.Dev && s.Labelled[head]).ToArray();
            var scores = Score([.. dev.Select(s => s.Text)])[head];
            double auc = Metrics.Auc(scores, dev.Select(s => s.Positive(head)).ToArray());
            Assert.True(auc >= goal, $"{Corpus.Heads[head]}: {auc}");
            using var manifest = Manifest("text-safety");
            Assert.Equal(Head(manifest, Corpus.Heads[head]).GetProperty("measured").GetProperty("devAuc").GetDouble(), auc, 1e-3);
        }
    }

    [Fact]
    public void EmbeddingSafety_EncoderAndHeads_ReproduceTheGoldenScores()
    {
        string folder = Path.Combine(Models, "embedding-safety", "1.0.0");
        using var manifest = Manifest("embedding-safety");
        var section = manifest.RootElement.GetProperty("encoder");
        using var encoder = new TextEncoder(
            Path.Combine(folder, section.GetProperty("file").GetString()!), TextFeaturizerOptions.Parse(section.GetProperty("parameters"), out _)!);
        var embeddings = encoder.Encode(Golden.Texts);
        var scores = OnnxRunner.Embeddings(File.ReadAllBytes(Path.Combine(folder, "model.onnx")), 4, embeddings, encoder.Width);
        using var golden = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "golden.json")));
        int head = 0;
        foreach (var expected in golden.RootElement.GetProperty("expected").EnumerateObject())
        {
            Assert.All(expected.Value.EnumerateArray().Select((value, i) => (value, i)), e => Assert.Equal(e.value.GetSingle(), scores[head][e.i], 1e-4f));
            head++;
        }

        Assert.Equal(4, head);
    }

    private static float[][] Score(string[] texts)
    {
        using var manifest = Manifest("text-safety");
        var parameters = manifest.RootElement.GetProperty("features")[0].GetProperty("parameters");
        var featurizer = new TextFeaturizer(TextFeaturizerOptions.Parse(parameters, out _)!);
        var buffer = new int[featurizer.Options.MaxFeatures];
        int[][] features = [.. texts.Select(text => buffer[..featurizer.Featurize(Encoding.UTF8.GetBytes(text), buffer)])];
        return OnnxRunner.Text(File.ReadAllBytes(Path.Combine(Models, "text-safety", "1.0.0", "model.onnx")), Corpus.Heads.Length, features);
    }

    private static JsonDocument Manifest(string bundle) => JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Models, bundle, "1.0.0", "manifest.json")));

    private static JsonElement Head(JsonDocument manifest, string head) => manifest.RootElement.GetProperty("classifiers").GetProperty(head);

    private static string RepositoryRoot()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "SafetyFilter.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? AppContext.BaseDirectory;
    }
}
