using Microsoft.Extensions.Configuration;
using SafetyFilter.Sidecar.Reload;

namespace SafetyFilter.Tests.Sidecar.Reload;

public sealed class SettingsFilesTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-settings-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void Merge_AllLayers_TheHighestWinsAndIsNamed()
    {
        Write("appsettings.json", """{ "A": "1", "B": "1", "C": { "D": "1", "E": "1" } }""");
        Write("appsettings.Test.json", """{ "B": "2", "C": { "D": "2", "E": "2" } }""");
        var own = Write("own.json", """{ "C": { "D": "3", "E": "3" } }""");
        var files = Insert(["--settings", own, "--C:E", "4"], out _);

        var (settings, errors) = files.Merge(files.Read());

        Assert.Empty(errors);
        Assert.Equal(new Setting("1", "appsettings.json"), settings!["A"]);
        Assert.Equal(new Setting("2", "appsettings.Test.json"), settings["B"]);
        Assert.Equal(new Setting("3", own), settings["C:D"]);
        Assert.Equal(new Setting("4", "command line"), settings["C:E"]);
    }

    [Fact]
    public void Merge_FilesThatAreNoJson_NamesEachAndThePlace()
    {
        Write("appsettings.json", "{ \"A\": ");
        var own = Write("own.json", "[]");
        var files = Insert(["--SettingsFile", own], out _);

        var (settings, errors) = files.Merge(files.Read());

        Assert.Null(settings);
        Assert.Equal(2, errors.Count);
        Assert.StartsWith("appsettings.json: the settings file is no JSON object of settings: ", errors[0], StringComparison.Ordinal);
        Assert.StartsWith($"{own}: the settings file is no JSON object of settings: ", errors[1], StringComparison.Ordinal);
    }

    [Fact]
    public void Merge_FileThatWasThereIsGone_IsAnErrorAndNotEmpty()
    {
        var path = Write("appsettings.json", """{ "A": "1" }""");
        var files = Insert([], out _);
        Assert.NotNull(files.Merge(files.Read()).Settings);
        File.Delete(path);

        var (settings, errors) = files.Merge(files.Read());

        Assert.Null(settings);
        Assert.Equal("appsettings.json: the settings file is not there. Put it back; one that says nothing is {}.", Assert.Single(errors));
    }

    [Fact]
    public void Insert_NamedFileIsMissing_IsAnError()
    {
        var files = Insert(["--settings=" + Path.Combine(_folder.FullName, "nowhere.json")], out _);

        Assert.Contains("nowhere.json: the settings file is not there.", Assert.Single(files.Merge(files.Read()).Errors), StringComparison.Ordinal);
    }

    [Fact]
    public void Publish_OtherSettings_TellsWhoWatchesTheConfiguration()
    {
        var files = Insert(["--A", "above"], out var configuration);
        var told = 0;
        using var registration = Microsoft.Extensions.Primitives.ChangeToken.OnChange(((IConfiguration)configuration).GetReloadToken, () => told++);

        files.Publish(new Dictionary<string, Setting>(StringComparer.OrdinalIgnoreCase) { ["A"] = new("file", "f"), ["B"] = new("file", "f") });

        Assert.Equal((1, "above", "file"), (told, configuration["A"], configuration["B"]));
    }

    [Theory]
    [InlineData("Ledger:Kafka:Producer:sasl.password", "***")]
    [InlineData("Ledger:Kafka:Producer:ssl.key.pem", "***")]
    [InlineData("Ledger:Kafka:Producer:sasl.oauthbearer.client.secret", "***")]
    [InlineData("Ledger:Kafka:Producer:ssl.key.location", "value")]
    [InlineData("Ledger:Kafka:Producer:sasl.pasword", "***")]
    [InlineData("Ledger:Kafka:Producer:security.protocol", "value")]
    [InlineData("Somewhere:ApiToken", "***")]
    [InlineData("Operations:TokensFile", "value")]
    [InlineData("Breaker:FailureRatio", "value")]
    public void Shown_Setting_HidesWhatIsItselfASecret(string key, string shown) => Assert.Equal(shown, SettingKeys.Shown(key, "value"));

    [Theory]
    [InlineData("Limits:MaxBudget", false, true)]
    [InlineData("Limits:MaxCandidates", false, false)]
    [InlineData("Scoring:SplitAbove", false, true)]
    [InlineData("Breaker:Bundles:text-safety:FailureRatio", false, true)]
    [InlineData("Logging:LogLevel:Default", false, true)]
    [InlineData("Logging:Console:LogLevel:Grpc", false, true)]
    [InlineData("Logging:Console:FormatterName", false, false)]
    [InlineData("Ledger:Kafka:Topic", false, true)]
    [InlineData("Ledger:Kafka:Topic", true, false)]
    [InlineData("Ledger:Spool:Folder", false, false)]
    public void IsReloadable_Setting_IsOneThatServesOnWithout(string key, bool isKafkaSwitched, bool expected) =>
        Assert.Equal(expected, SettingKeys.IsReloadable(key, isKafkaSwitched));

    [Fact]
    public void WrongLogLevels_NoLevel_NamesKeyAndValue() => Assert.Equal(
        ["Logging:LogLevel:Default is 'Loud'; use Trace, Debug, Information, Warning, Error, Critical or None."],
        SettingKeys.WrongLogLevels([new("Logging:LogLevel:Default", "Loud"), new("Logging:LogLevel:Grpc", "warning"), new("Logging:LogLevel:Other", "None")]));

    private SettingsFiles Insert(string[] args, out ConfigurationManager configuration)
    {
        // As the host makes it: files (of which any will do, they are replaced), then the environment, then the command line.
        configuration = new ConfigurationManager();
        configuration.AddJsonFile(Path.Combine(_folder.FullName, "none.json"), optional: true, reloadOnChange: false);
        configuration.AddCommandLine(args);
        return SettingsFiles.Insert(configuration, args, _folder.FullName, "Test");
    }

    private string Write(string name, string text)
    {
        var path = Path.Combine(_folder.FullName, name);
        File.WriteAllText(path, text);
        return path;
    }
}
