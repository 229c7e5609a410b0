using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Scoring;

public sealed class ClassifierSetTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("safetyfilter-set-").FullName;

    [Fact]
    public void Load_SeveralBundles_FindsEachClassifier()
    {
        Write("second", "1.0.0", "gamma");
        Write("first", "1.0.0", "alpha", "beta");
        using var set = Load();
        Assert.Equal(["first", "second"], set.Bundles.Select(bundle => bundle.Name));
        Assert.Equal(["first/alpha", "first/beta", "second/gamma"], set.Classifiers);
        Assert.True(set.TryFind("first/beta", out var beta));
        Assert.Equal(new ClassifierAddress(0, 1), beta);
        Assert.True(set.TryFind("second/gamma", out var gamma));
        Assert.Equal(new ClassifierAddress(1, 0), gamma);
        Assert.False(set.TryFind("second/alpha", out _));
    }

    [Fact]
    public void Load_SeveralVersions_TakesTheHighestByNumber()
    {
        Write("first", "1.9.0", "alpha");
        Write("first", "1.10.0", "alpha");
        Write("first", "1.2.30", "alpha");
        using var set = Load();
        Assert.Equal("1.10.0", Assert.Single(set.Bundles).Version);
    }

    [Fact]
    public void Load_HighestVersionIsRefused_RefusesTheSet()
    {
        Write("first", "1.0.0", "alpha");
        Write("first", "1.1.0", "alpha");
        File.AppendAllText(Path.Combine(_root, "first", "1.1.0", "model.onnx"), "x");
        var loaded = ClassifierSet.Load(_root, BundleLimits.Default, TimeProvider.System);
        Assert.Null(loaded.Value);
        Assert.All(loaded.Errors, error => Assert.Equal("first/1.1.0", error.Bundle));
    }

    [Fact]
    public void Load_TwoFaultyBundles_NamesBoth()
    {
        foreach (var name in (string[])["first", "second"])
        {
            Write(name, "1.0.0", "alpha");
            File.WriteAllText(Path.Combine(_root, name, "1.0.0", "golden.json"), "{}");
        }

        var errors = ClassifierSet.Load(_root, BundleLimits.Default, TimeProvider.System).Errors;
        Assert.Equal(["first/1.0.0", "second/1.0.0"], errors.Select(error => error.Bundle).Distinct());
    }

    [Fact]
    public void Load_FolderThatIsNoVersion_IsRefused()
    {
        Write("first", "1.0.0", "alpha");
        Directory.Move(Path.Combine(_root, "first", "1.0.0"), Path.Combine(_root, "first", "latest"));
        Assert.Contains("'latest' is not a version", Refusal(_root), StringComparison.Ordinal);
    }

    [Fact]
    public void Load_FolderWithoutManifest_IsPassedOver()
    {
        Write("first", "1.0.0", "alpha");
        Directory.CreateDirectory(Path.Combine(_root, "first", ".copying"));
        Directory.CreateDirectory(Path.Combine(_root, "lost+found"));
        Load().Dispose();
    }

    [Fact]
    public void Load_NoBundleOrNoFolder_IsRefused()
    {
        Assert.Contains("holds no bundle", Refusal(_root), StringComparison.Ordinal);
        Assert.Contains("does not exist", Refusal(Path.Combine(_root, "nowhere")), StringComparison.Ordinal);
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private static string Refusal(string root)
    {
        var loaded = ClassifierSet.Load(root, BundleLimits.Default, TimeProvider.System);
        Assert.Null(loaded.Value);
        return loaded.Report;
    }

    private ClassifierSet Load()
    {
        var loaded = ClassifierSet.Load(_root, BundleLimits.Default, TimeProvider.System);
        Assert.True(loaded.Value is not null, loaded.Report);
        return loaded.Value;
    }

    private void Write(string name, string version, params string[] labels)
    {
        using var bundle = TestBundle.Linear(new float[2 * labels.Length], 2, labels, name, _root, version);
        bundle.Manifest["expires"] = "9999-12-31";
        bundle.Write();
    }
}
