using System.Collections;
using System.Reflection;
using Microsoft.Extensions.Configuration;
using SafetyFilter.Sidecar.Hosting;

namespace SafetyFilter.Tests.Sidecar;

/// <summary>Whoever adds a setting documents it: in appsettings.json with its default, and in the table with that default's origin.</summary>
public sealed class SettingsReferenceTests
{
    private static readonly string Sidecar = Path.Combine(SourceTree.Root, "src", "SafetyFilter.Sidecar");
    private static readonly IConfiguration AppSettings = new ConfigurationBuilder().AddJsonFile(Path.Combine(Sidecar, "appsettings.json")).Build();

    [Fact]
    public void AppSettings_EverySetting_StandsThereWithTheDefaultOfTheCode()
    {
        var (options, errors) = SidecarOptions.Read(AppSettings, isProduction: true);
        Assert.Empty(errors);
        var written = Settings(options!).ToDictionary(StringComparer.Ordinal);
        foreach (var (key, value) in Settings(new SidecarOptions()))
        {
            Assert.True(AppSettings.GetSection(key).Exists() || value is "", $"{key} is not in appsettings.json.");
            Assert.Equal((key, value), (key, written[key]));
        }
    }

    [Fact]
    public void Table_EverySetting_HasItsDefaultAndWhereThatComesFrom()
    {
        var rows = File.ReadLines(Path.Combine(Sidecar, "Hosting", "README.md"))
            .Where(static line => line.StartsWith("| `", StringComparison.Ordinal))
            .Select(static line => line.Split('|', StringSplitOptions.TrimEntries))
            .ToDictionary(static cells => cells[1].Trim('`'), static cells => (Default: cells[2].Trim('`'), Origin: cells[3]), StringComparer.Ordinal);
        var settings = Settings(new SidecarOptions()).Select(static one => one.Key).ToList();

        Assert.Equal(settings.Order(StringComparer.Ordinal), rows.Keys.Order(StringComparer.Ordinal));
        foreach (var key in settings)
        {
            Assert.Equal((key, AppSettings[key] ?? ""), (key, rows[key].Default is var cell && bool.TryParse(cell, out var flag) ? flag.ToString() : cell));
            Assert.True(rows[key].Origin.Length > 0, $"{key} has no origin.");
        }
    }

    /// <summary>Every setting by its key, with its value; a section of names that anybody may choose is one setting.</summary>
    private static IEnumerable<KeyValuePair<string, string>> Settings(object options, string section = "")
    {
        foreach (var property in options.GetType().GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(static one => one.SetMethod is not null))
        {
            var key = section + property.Name;
            var value = property.GetValue(options);
            if (value is IDictionary named)
            {
                yield return KeyValuePair.Create(key, named.Count == 0 ? "" : $"{named.Count}");
            }
            else if (value is string || value!.GetType().IsValueType)
            {
                yield return KeyValuePair.Create(key, $"{value}");
            }
            else
            {
                foreach (var inner in Settings(value, key + ":"))
                {
                    yield return inner;
                }
            }
        }
    }
}
