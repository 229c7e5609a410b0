using System.Globalization;
using System.Text.Json.Nodes;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Scoring;

public sealed class BundleLoaderTests
{
    [Fact]
    public void Load_SoundBundle_KnowsItsManifest()
    {
        using var bundle = TestBundle.Simple();
        using var model = bundle.Load();
        Assert.Equal(("numbers", "1.0.0"), (model.Name, model.Version));
        Assert.Equal(System.Security.Cryptography.SHA256.HashData(bundle.Model), model.ModelSha256.ToArray());
        Assert.Equal(["numbers/alpha"], model.Classifiers);
        var alpha = Assert.Single(model.Manifest.Classifiers);
        Assert.Equal(CandidateAction.Block, alpha.MaxAction);
        Assert.Equal(0.9, alpha.Thresholds[CandidateAction.Block]);
        Assert.Equal(1.5, alpha.Calibration.Parameters["a"]);
        Assert.Equal(0.97, alpha.Measured["devAuc"]);
        var feature = Assert.IsType<TensorFeatureSpec>(Assert.Single(model.Manifest.Features));
        Assert.Equal(("embedding", -100f, 100f), (feature.Feature, feature.Min, feature.Max));
        Assert.True(model.Manifest.Serves("recommendation", "anywhere"));
        Assert.False(model.Manifest.Serves("advertising", "anywhere"));
    }

    [Theory]
    [InlineData("$.schema", "\"safetyfilter.bundle/2\"", "'safetyfilter.bundle/2' is not a known schema")]
    [InlineData("$.name", "\"Numbers\"", "'Numbers' is not a plain name")]
    [InlineData("$.version", "\"1.0\"", "'1.0' is not a version")]
    [InlineData("$.version", "\"1.00.0\"", "'1.00.0' is not a version")]
    [InlineData("$.owner", "7", "7 is not a string")]
    [InlineData("$.features", "[]", "is empty")]
    [InlineData("$.features[0].kind", "\"image\"", "'image' is not a feature kind")]
    [InlineData("$.features[0].dtype", "\"float64\"", "'float64' is not a type")]
    [InlineData("$.features[0].shape", "[1, 1, 1, 1]", "has 4 dimensions")]
    [InlineData("$.features[0].shape[0]", "0", "0 is not a whole number")]
    [InlineData("$.features[0].range", "[1, -1]", "ascending")]
    [InlineData("$.features[0].range[1]", "1e999", "1e999 is outside")]
    [InlineData("$.outputs", "[]", "is empty")]
    [InlineData("$.outputs[0].classifiers", "[]", "is empty")]
    [InlineData("$.outputs[0].classifiers", "[\"alpha\", \"alpha\"]", "'alpha' is listed twice")]
    [InlineData("$.outputs[0].classifiers[0]", "\"Al pha\"", "'Al pha' is not a plain name")]
    [InlineData("$.classifiers.alpha.maxAction", "\"blok\"", "'blok' is not an action")]
    [InlineData("$.classifiers.alpha.thresholds.block", "1.3", "1.3 is outside 0..1")]
    [InlineData("$.classifiers.alpha.thresholds", "{ \"hide\": 0.5 }", "'hide' is not an action")]
    [InlineData("$.purposes", "[]", "could serve nothing")]
    [InlineData("$.expires", "\"31.12.2028\"", "'31.12.2028' is not a date")]
    [InlineData("$.training.seed", "1.5", "1.5 is not a whole number")]
    [InlineData("$.files", "{ \"../x\": \"00\" }", "'../x' is not a plain file name")]
    public void Load_FaultyManifest_NamesPathAndValue(string path, string json, string because)
    {
        using var bundle = TestBundle.Simple();
        Set(bundle.Manifest, path, JsonNode.Parse(json));
        var refusal = bundle.Refusal();
        Assert.Contains("'numbers/1.0.0', manifest.json at " + path, refusal, StringComparison.Ordinal);
        Assert.Contains(because, refusal, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("schema")]
    [InlineData("name")]
    [InlineData("version")]
    [InlineData("description")]
    [InlineData("owner")]
    [InlineData("features")]
    [InlineData("outputs")]
    [InlineData("classifiers")]
    [InlineData("purposes")]
    [InlineData("surfaces")]
    [InlineData("expires")]
    [InlineData("training")]
    public void Load_ManifestWithoutMember_SaysItIsMissing(string member)
    {
        using var bundle = TestBundle.Simple();
        bundle.Manifest.Remove(member);
        Assert.Matches($@"at \$\.{member}[^:]*: is missing", bundle.Refusal());
    }

    [Fact]
    public void Load_ManyFaults_NamesAllAtOnceWithTheOwner()
    {
        using var bundle = TestBundle.Simple();
        bundle.Manifest["description"] = "";
        bundle.Manifest["expires"] = "soon";
        bundle.Hashes["golden.json"] = new string('0', 64);
        bundle.Model = [1, 2, 3];
        var loaded = bundle.TryLoad();
        Assert.Equal(["golden.json", "manifest.json", "manifest.json", "model.onnx"], loaded.Errors.Select(error => error.File).Order(StringComparer.Ordinal));
        Assert.All(loaded.Errors, error => Assert.EndsWith("Owner: team-trust.", error.ToString(), StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("{")]
    [InlineData("{ \"schema\": \"safetyfilter.bundle/1\", \"schema\": \"safetyfilter.bundle/1\" }")]
    [InlineData("{ \"schema\": \"\\ud800\" }")]
    [InlineData("{ \"\\udc00\": 1 }")]
    public void Load_UnreadableJson_IsRefused(string json)
    {
        using var bundle = TestBundle.Simple().Write();
        File.WriteAllText(Path.Combine(bundle.Folder, "manifest.json"), json);
        Assert.Contains("not readable JSON", BundleLoader.Load(bundle.Folder, BundleLimits.Default, bundle.Time).Report, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_AnyValueOfAnyOtherKind_IsAnsweredAndNeverThrown()
    {
        using var bundle = TestBundle.Simple().Write();
        string[] strange = ["null", "true", "7", "-1e300", "\"x\"", "[]", "[[]]", "{}", "{ \"x\": null }"];
        foreach (var path in Places(bundle.Manifest, "$").ToArray())
        {
            foreach (var json in strange)
            {
                var changed = bundle.Manifest.DeepClone();
                Set(changed, path, JsonNode.Parse(json));
                var errors = new List<BundleError>();
                Assert.True(Read(changed, errors) is not null || errors.Count > 0, $"{path} {json}");
            }
        }

        static BundleManifest? Read(JsonNode manifest, List<BundleError> errors) =>
            ManifestReader.Read(System.Text.Encoding.UTF8.GetBytes(manifest.ToJsonString()), new JsonFaults("b", "manifest.json", errors));
    }

    [Fact]
    public void Load_FolderOfAnotherVersion_IsRefused()
    {
        using var bundle = TestBundle.Simple();
        bundle.Manifest["version"] = "1.0.1";
        Assert.Contains("It says it is 'numbers/1.0.1' but lies in 'numbers/1.0.0'", bundle.Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void Load_OnAndAfterTheLastDay_LoadsAndThenRefuses()
    {
        using var bundle = TestBundle.Simple();
        bundle.Time.SetUtcNow(new DateTimeOffset(2030, 1, 31, 23, 59, 59, TimeSpan.Zero));
        bundle.Load().Dispose();
        bundle.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.Contains("It expired after 2030-01-31", bundle.Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void Load_FileChanged_NamesBothHashes()
    {
        using var bundle = TestBundle.Simple().Write();
        var path = Path.Combine(bundle.Folder, "model.onnx");
        var bytes = File.ReadAllBytes(path);
        bytes[^1] ^= 1;
        File.WriteAllBytes(path, bytes);
        var loaded = BundleLoader.Load(bundle.Folder, BundleLimits.Default, bundle.Time);
        Assert.Null(loaded.Value);
        Assert.Contains(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes)), loaded.Report, StringComparison.Ordinal);
        Assert.Contains(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bundle.Model)), loaded.Report, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("model.onnx")]
    [InlineData("golden.json")]
    [InlineData("manifest.json")]
    public void Load_FileMissing_IsRefused(string file)
    {
        using var bundle = TestBundle.Simple().Write();
        File.Delete(Path.Combine(bundle.Folder, file));
        var error = Assert.Single(BundleLoader.Load(bundle.Folder, BundleLimits.Default, bundle.Time).Errors);
        Assert.Equal(file, error.File);
        Assert.Contains("cannot be read", error.Problem, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_FilesOverTheirLimits_AreRefusedUnread()
    {
        using var bundle = TestBundle.Simple();
        bundle.Limits = new BundleLimits { MaxModelBytes = 50 };
        Assert.Contains($"model.onnx: It has {bundle.Model.Length} bytes, more than the limit of 50", bundle.Refusal(), StringComparison.Ordinal);
        bundle.Limits = new BundleLimits { MaxJsonBytes = 10 };
        Assert.Contains("manifest.json: It has", bundle.Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void Load_ListedFileWithoutLimitTrouble_IsHashedToo()
    {
        using var bundle = TestBundle.Simple();
        Directory.CreateDirectory(bundle.Folder);
        File.WriteAllText(Path.Combine(bundle.Folder, "encoder.bin"), "abc");
        bundle.Manifest["files"] = new JsonObject { ["encoder.bin"] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" };
        bundle.Load().Dispose();
        File.WriteAllText(Path.Combine(bundle.Folder, "encoder.bin"), "abd");
        Assert.Contains("encoder.bin: Its SHA-256 is", bundle.Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void Load_ModelWithExternalData_IsRefusedBeforeOnnxRuntime()
    {
        using var bundle = TestBundle.Simple();
        bundle.Model = Onnx.Model(Onnx.Graph([], [], [], Onnx.ExternalTensor("w"))).Bytes;
        var error = Assert.Single(bundle.TryLoad().Errors);
        Assert.Equal("model.onnx", error.File);
        Assert.Contains("outside the file", error.Problem, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_ModelThatOnnxRuntimeRefuses_SaysWhatItSaid()
    {
        using var bundle = TestBundle.Simple();
        bundle.Model = Onnx.Model(Onnx.Graph(
            [Onnx.Node("NoSuchOperator", ["embedding"], ["scores"])], [Onnx.Value("embedding", Onnx.Float, -1, 2)], [Onnx.Value("scores", Onnx.Float, -1, 1)])).Bytes;
        Assert.Contains("NoSuchOperator", bundle.Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void Load_GraphOfOtherNames_NamesThem()
    {
        using var bundle = TestBundle.Simple();
        Set(bundle.Manifest, "$.features[0].input", "vector");
        Set(bundle.Manifest, "$.outputs[0].name", "probabilities");
        var loaded = bundle.TryLoad();
        Assert.Equal(["$.features[0].input", "$.features", "$.outputs[0].name"], loaded.Errors.Select(error => error.Path));
        Assert.Contains("has no input 'vector', only 'embedding'", loaded.Report, StringComparison.Ordinal);
        Assert.Contains("'embedding' is fed by no feature", loaded.Report, StringComparison.Ordinal);
        Assert.Contains("has no output 'probabilities', only 'scores'", loaded.Report, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1, new long[] { -1, 3 }, new long[] { -1, 1 }, "input 'embedding' has shape [?, 3]")]
    [InlineData(1, new long[] { 4, 2 }, new long[] { 4, 1 }, "input 'embedding' has shape [4, 2]")]
    [InlineData(11, new long[] { -1, 2 }, new long[] { -1, 1 }, "input 'embedding' is Double")]
    [InlineData(1, new long[] { -1, 2 }, new long[] { -1, 5 }, "output 'scores' has shape [?, 5]")]
    public void Load_GraphOfOtherShapesOrTypes_IsRefused(int type, long[] input, long[] output, string because)
    {
        using var bundle = TestBundle.Simple();
        var weights = type == Onnx.Float ? Onnx.Tensor("w", new float[input[1] * output[1]], input[1], output[1]) : DoubleZeros(input[1], output[1]);
        bundle.Model = Onnx.Model(Onnx.Graph(
            [Onnx.Node("MatMul", ["embedding", "w"], ["logits"]), Onnx.Node("Sigmoid", ["logits"], ["scores"])],
            [Onnx.Value("embedding", type, input)], [Onnx.Value("scores", type, output)], weights)).Bytes;
        Assert.Contains(because, bundle.Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void Load_OutputWiderThanItsDeclaration_IsRefusedByTheWarmUp()
    {
        using var bundle = TestBundle.Simple();
        bundle.Model = Onnx.Model(Onnx.Graph(
            [Onnx.Node("Concat", ["embedding", "embedding"], ["wide"], Onnx.Attribute("axis", 1)), Onnx.Node("Expand", ["wide", "shape"], ["scores"])],
            [Onnx.Value("embedding", Onnx.Float, -1, 2), Onnx.Value("shape", Onnx.Int64, -1)],
            [Onnx.Value("scores", Onnx.Float, -1, -1)],
            Onnx.Tensor("shape", [1L, 4], 2))).Bytes;
        Assert.Contains("fails as InvalidOutput", bundle.Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void Load_OutputThatIsAConstant_IsRefused()
    {
        using var bundle = TestBundle.Simple();
        bundle.Model = Onnx.Model(Onnx.Graph(
            [Onnx.Node("Relu", ["embedding"], ["unused"])],
            [Onnx.Value("embedding", Onnx.Float, -1, 2)],
            [Onnx.Value("scores", Onnx.Float, -1, 1)],
            Onnx.Tensor("scores", Enumerable.Repeat(0.5f, 4096).ToArray(), 4096, 1))).Bytes;
        Assert.Contains("output 'scores' has shape [4096, 1]", bundle.Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void Load_FlatOutputOfOneClassifier_Scores()
    {
        using var bundle = new TestBundle(
            Onnx.Model(Onnx.Graph(
                [Onnx.Node("ReduceMax", ["embedding"], ["scores"], new Proto().Text(1, "axes").Number(8, 1).Number(20, 7), Onnx.Attribute("keepdims", 0))],
                [Onnx.Value("embedding", Onnx.Float, -1, 2)],
                [Onnx.Value("scores", Onnx.Float, -1)])).Bytes,
            TestBundle.EmbeddingFeature(2));
        bundle.SetGoldenRow([0.5f, 0.25f]);
        using var model = bundle.Load();
        Assert.Equal([0.75f, 0.5f], model.Score(BatchBuilder.Of(2).Tensor("embedding", [0.75f, 0], [0f, 0.5f]).Build()).Table.Row(0).ToArray());
    }

    [Fact]
    public void Load_GoldenScoreDiffers_NamesCandidateAndBothNumbers()
    {
        using var bundle = TestBundle.Simple();
        bundle.Golden["expected"]!["alpha"]![0] = 0.5002;
        var error = Assert.Single(bundle.TryLoad().Errors);
        Assert.Equal(("golden.json", "$.expected.alpha[0]"), (error.File, error.Path));
        Assert.Contains("candidate 0", error.Problem, StringComparison.Ordinal);
        Assert.Contains("scores 0.5, expected 0.5002 within 0.0001", error.Problem, StringComparison.Ordinal);
        bundle.Golden["tolerance"] = 0.001;
        bundle.Load().Dispose();
    }

    [Fact]
    public void Load_GoldenCandidateScoresNaN_IsRefused()
    {
        using var bundle = new TestBundle(Onnx.Single("Log"), TestBundle.EmbeddingFeature(1));
        bundle.SetGoldenRow([-1]);
        Assert.Contains("scores no score (InvalidOutput), expected 0.5", bundle.Refusal(), StringComparison.Ordinal);
    }

    [Fact]
    public void Load_GoldenCandidateWithoutFeature_MustExpectNoScore()
    {
        using var bundle = TestBundle.Simple();
        bundle.Golden["candidates"]!.AsArray().Add(new JsonObject());
        bundle.Golden["expected"]!["alpha"]!.AsArray().Add(null);
        bundle.Load().Dispose();
        bundle.Golden["expected"]!["alpha"]![1] = 0.5;
        Assert.Contains("scores no score (MissingFeature), expected 0.5", bundle.Refusal(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("$.tolerance", "0.5", "0.5 is outside 0..0.01")]
    [InlineData("$.candidates", "[]", "is empty")]
    [InlineData("$.candidates[0].embedding", "[1]", "not the 2 numbers")]
    [InlineData("$.candidates[0].embedding", "\"text\"", "not the 2 numbers")]
    [InlineData("$.expected.alpha", "[0.5, 0.5]", "has 2 scores for 1 candidates")]
    [InlineData("$.expected.alpha", "null", "null is not an array")]
    public void Load_FaultyGoldenFile_NamesPathAndValue(string path, string json, string because)
    {
        using var bundle = TestBundle.Simple();
        Set(bundle.Golden, path, JsonNode.Parse(json));
        var refusal = bundle.Refusal();
        Assert.Contains("golden.json at " + path, refusal, StringComparison.Ordinal);
        Assert.Contains(because, refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_ScoreDependsOnNeighbours_IsRefused()
    {
        // Softmax over the candidates: right for one, wrong as soon as there are others.
        var model = Onnx.Model(Onnx.Graph(
            [Onnx.Node("Softmax", ["embedding"], ["scores"], Onnx.Attribute("axis", 0))],
            [Onnx.Value("embedding", Onnx.Float, -1, 1)],
            [Onnx.Value("scores", Onnx.Float, -1, 1)])).Bytes;
        using var bundle = new TestBundle(model, TestBundle.EmbeddingFeature(1));
        bundle.SetGoldenRow([0]);
        bundle.Golden["expected"]!["alpha"]![0] = 1;
        Assert.Contains("In a batch of 16", bundle.Refusal(), StringComparison.Ordinal);
    }

    private static Proto DoubleZeros(long rows, long columns) =>
        new Proto().Number(1, rows).Number(1, columns).Number(2, 11).Text(8, "w").Raw(9, new byte[rows * columns * 8]);

    private static IEnumerable<string> Places(JsonNode? node, string path) => node switch
    {
        // The names of files have points in them, which Set does not know.
        JsonObject members => members.Where(member => !member.Key.Contains('.', StringComparison.Ordinal))
            .SelectMany(member => Places(member.Value, $"{path}.{member.Key}").Prepend($"{path}.{member.Key}")),
        JsonArray items => items.SelectMany((item, i) => Places(item, $"{path}[{i}]").Prepend($"{path}[{i}]")),
        _ => [],
    };

    // A path as error messages write it: $.a.b[0].c
    private static void Set(JsonNode root, string path, JsonNode? value)
    {
        var parts = path[2..].Replace("[", ".", StringComparison.Ordinal).Replace("]", "", StringComparison.Ordinal).Split('.');
        foreach (var part in parts[..^1])
        {
            root = int.TryParse(part, CultureInfo.InvariantCulture, out var index) ? root[index]! : root[part]!;
        }

        if (int.TryParse(parts[^1], CultureInfo.InvariantCulture, out var last))
        {
            root[last] = value;
        }
        else
        {
            root[parts[^1]] = value;
        }
    }
}
