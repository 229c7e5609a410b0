using SafetyFilter.Cli.Demo;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>A sidecar that cannot serve says everything that is wrong, at once, and ends with the exit code that says whose turn it is.</summary>
public sealed class StartTests : IDisposable
{
    private const UnixFileMode OwnerAndGroup = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-start-");

    [Fact]
    public async Task Start_WrongSettings_SaysAllOfThemAndEndsWith2()
    {
        var report = await RefusedAsync(
            ("Limits__MaxCandidates", "0"),
            ("Limits__MaxMessageBytes", "17"),
            ("Listen__UnixSocketMode", "rw-rw----"),
            ("Listen__Metrics", "9464"),
            ("Breaker__FailureRatio", "2"),
            ("Breaker__Bundles__text-safety__MinimumThroughput", "1"),
            ("Chaos__Enabled", "true"),
            ("ASPNETCORE_ENVIRONMENT", "Production"),
            ("Ledger__Spool__SegmentBytes", "5000"),
            ("Drain__Timeout", "01:00:00"),
            ("Telemetry__OtlpEndpoint", "collector"));
        Assert.Contains("exit code 2 ", report, StringComparison.Ordinal);
        Assert.Contains("Limits:MaxCandidates is 0; it must be 1 to 10000.", report, StringComparison.Ordinal);
        Assert.Contains("Limits:MaxMessageBytes is 17;", report, StringComparison.Ordinal);
        Assert.Contains("Listen:UnixSocketMode 'rw-rw----' is not an octal mode. Use one such as 660.", report, StringComparison.Ordinal);
        Assert.Contains("Listen:Metrics '9464' is not address:port.", report, StringComparison.Ordinal);
        Assert.Contains("Breaker:FailureRatio is 2; it must be above 0 and at most 1.", report, StringComparison.Ordinal);
        Assert.Contains("Breaker:Bundles:text-safety:MinimumThroughput is 1;", report, StringComparison.Ordinal);
        Assert.Contains("Chaos:Enabled is true in the Production environment.", report, StringComparison.Ordinal);
        Assert.Contains("Ledger:Spool:SegmentBytes is '5000'.", report, StringComparison.Ordinal);
        Assert.Contains("Drain:Timeout is 01:00:00;", report, StringComparison.Ordinal);
        Assert.Contains("Telemetry:OtlpEndpoint 'collector' is not an http or https URI.", report, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_SettingOfAnotherType_NamesKeyAndValueAndEndsWith2()
    {
        var report = await RefusedAsync(("Limits__MaxCandidates", "many"));
        Assert.Contains("exit code 2 ", report, StringComparison.Ordinal);
        Assert.Contains("Limits:MaxCandidates", report, StringComparison.Ordinal);
        Assert.Contains("many", report, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", report, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_BrokenPolicies_SaysEveryErrorAndEndsWith1()
    {
        var one = Policy("one", "[feed]", "{ text-safety/toxicty: { fail: closed } }", "{ score: text-safety/toxicty, at_least: 1.3 }");
        var two = Policy("two", "[feed]", "{ text-safety/hate: { fail: sideways } }", "{ score: text-safety/hate, at_least: 0.5 }");
        var report = await RefusedAsync(("Policies__Folder", Folder("policies", ("one.yaml", one), ("two.yaml", two))));
        Assert.Contains("exit code 1 ", report, StringComparison.Ordinal);
        Assert.Contains("text-safety/toxicty", report, StringComparison.Ordinal);
        Assert.Contains("1.3", report, StringComparison.Ordinal);
        Assert.Contains("sideways", report, StringComparison.Ordinal);
        Assert.Contains("one.yaml:", report, StringComparison.Ordinal);
        Assert.Contains("two.yaml:", report, StringComparison.Ordinal);
        Assert.Contains("(owner: team)", report, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_BrokenModels_SaysEveryErrorAndEndsWith1()
    {
        var models = Path.Combine(_folder.FullName, "models");
        var broken = new List<string>();
        foreach (var manifest in Directory.EnumerateFiles(Path.Combine(AppContext.BaseDirectory, "models"), "manifest.json", SearchOption.AllDirectories))
        {
            var bundle = Path.GetRelativePath(Path.Combine(AppContext.BaseDirectory, "models"), Path.GetDirectoryName(manifest)!);
            var copy = Directory.CreateDirectory(Path.Combine(models, bundle)).FullName;
            foreach (var file in Directory.EnumerateFiles(Path.GetDirectoryName(manifest)!))
            {
                File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
            }

            // One byte of the weights: what a bad disk or a bad hand would do.
            var model = await File.ReadAllBytesAsync(Path.Combine(copy, "model.onnx"), TestContext.Current.CancellationToken);
            model[model.Length / 2] ^= 1;
            await File.WriteAllBytesAsync(Path.Combine(copy, "model.onnx"), model, TestContext.Current.CancellationToken);
            broken.Add(bundle);
        }

        var report = await RefusedAsync(("Models__Folder", models));
        Assert.Contains("exit code 1 ", report, StringComparison.Ordinal);
        Assert.Equal(2, broken.Count);
        Assert.All(broken, bundle => Assert.Contains(bundle, report, StringComparison.Ordinal));
        Assert.Contains("the manifest says", report, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_NoModelsAtAll_SaysWhereItLooked()
    {
        var report = await RefusedAsync(("Models__Folder", Folder("empty")));
        Assert.Contains("exit code 1 ", report, StringComparison.Ordinal);
        Assert.Contains(Path.Combine(_folder.FullName, "empty"), report, StringComparison.Ordinal);
        Assert.Contains("holds no bundle.", report, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_SomethingElseAtTheSocketsPath_LeavesItAloneAndEndsWith1()
    {
        var path = Path.Combine(Folder("precious", ("data.txt", "somebody's work")), "data.txt");
        var report = await RefusedAsync(("Listen__UnixSocket", path));
        Assert.Contains("exit code 1 ", report, StringComparison.Ordinal);
        Assert.Contains($"Listen:UnixSocket '{path}' is a file with content, not a socket.", report, StringComparison.Ordinal);
        Assert.Equal("somebody's work", await File.ReadAllTextAsync(path, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Start_SpoolOrSocketOrPortInUse_NamesItAndEndsWith1()
    {
        await using var first = await SidecarProcess.StartAsync();
        Assert.Equal(OwnerAndGroup, File.GetUnixFileMode(first.UnixSocket));

        var spool = await RefusedAsync(("Ledger__Spool__Folder", first.Spool));
        Assert.Contains("exit code 1 ", spool, StringComparison.Ordinal);
        Assert.Contains($"The spool folder '{first.Spool}' is in use by process {first.ProcessId}.", spool, StringComparison.Ordinal);

        var socket = await RefusedAsync(("Listen__UnixSocket", first.UnixSocket));
        Assert.Contains("exit code 1 ", socket, StringComparison.Ordinal);
        Assert.Contains($"Listen:UnixSocket '{first.UnixSocket}' is in use by another process", socket, StringComparison.Ordinal);

        var port = await RefusedAsync(("Listen__Tcp", first.Tcp["http://".Length..]));
        Assert.Contains("exit code 1 ", port, StringComparison.Ordinal);
        Assert.Contains("address already in use", port, StringComparison.OrdinalIgnoreCase);

        // None of this harmed the one that serves.
        using var wire = Wire.Unix(first.UnixSocket);
        await wire.FilterAsync(BadInput.BadRequest.Good());
        Assert.Equal(0, await first.StopAsync());
        SpoolRecords.Verify(first.Spool);
    }

    [Fact]
    public async Task Start_SocketModeSet_IsTheSockets()
    {
        await using var sidecar = await SidecarProcess.StartAsync(("Listen__UnixSocketMode", "600"));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(sidecar.UnixSocket));
    }

    public void Dispose() => _folder.Delete(recursive: true);

    /// <summary>Starts a sidecar that must not serve. Returns how it ended and its last words.</summary>
    private static async Task<string> RefusedAsync(params (string Key, string Value)[] settings) =>
        (await Assert.ThrowsAsync<SidecarFailedException>(async () =>
        {
            await using var sidecar = await SidecarProcess.StartAsync(settings);
        })).Message;

    private string Folder(string name, params (string Name, string Text)[] files)
    {
        var folder = Directory.CreateDirectory(Path.Combine(_folder.FullName, name)).FullName;
        foreach (var (file, text) in files)
        {
            File.WriteAllText(Path.Combine(folder, file), text);
        }

        return folder;
    }

    private static string Policy(string name, string surfaces, string classifiers, string condition) => $$"""
        policy: {{name}}
        owner: team
        surfaces: {{surfaces}}
        classifiers: {{classifiers}}
        rules:
          - { id: r, when: {{condition}}, action: block, reason: R }
        """;
}
