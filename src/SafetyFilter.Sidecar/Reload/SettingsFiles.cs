using System.Collections.Frozen;
using System.Text.Json;
using Microsoft.Extensions.Configuration.CommandLine;
using Microsoft.Extensions.Configuration.Json;

namespace SafetyFilter.Sidecar.Reload;

/// <summary>A setting's value, and the layer that it comes from: a file, "environment" or "command line".</summary>
internal readonly record struct Setting(string Value, string Origin);

/// <summary>One settings file as it was read. Without bytes it was not there, or the error says what else.</summary>
internal sealed record SettingsText(string Path, string Origin, byte[]? Bytes, string? Error);

/// <summary>
/// The layers of settings: appsettings.json, appsettings.ENVIRONMENT.json, the operator's own file, and above them what the process was
/// started with. The host reads its settings from here, and sees what <see cref="Publish"/> says instead of whatever the files say by now.
/// </summary>
internal sealed class SettingsFiles : ConfigurationProvider, IConfigurationSource
{
    private readonly List<(string Path, string Origin, bool IsRequired)> _files = [];
    private readonly Dictionary<string, Setting> _above = new(StringComparer.OrdinalIgnoreCase);
    private readonly HashSet<string> _found = new(StringComparer.Ordinal);

    private SettingsFiles()
    {
    }

    /// <summary>Takes the place of the host's own file layers.</summary>
    /// <param name="args">The command line: <c>--settings FILE</c> is short for <c>--SettingsFile FILE</c>.</param>
    public static SettingsFiles Insert(ConfigurationManager configuration, string[] args, string folder, string environment)
    {
        var files = new SettingsFiles();
        foreach (var name in new[] { "appsettings.json", $"appsettings.{environment}.json" })
        {
            files._files.Add((Path.Combine(folder, name), name, IsRequired: false));
        }

        IList<IConfigurationSource> sources = configuration.Sources;
        var place = sources.TakeWhile(static source => source is not JsonConfigurationSource).Count();
        foreach (var source in sources.OfType<JsonConfigurationSource>().ToList())
        {
            sources.Remove(source);
        }

        files.KeepAbove(((IConfigurationRoot)configuration).Providers.Skip(place));
        if ((ShortArgument(args) ?? configuration["SettingsFile"]) is { Length: > 0 } named)
        {
            var path = Path.GetFullPath(named);
            files._files.Add((path, path, IsRequired: true));
        }

        sources.Insert(place, files);
        return files;
    }

    public IConfigurationProvider Build(IConfigurationBuilder builder) => this;

    public IReadOnlyList<SettingsText> Read() => [.. _files.Select(Read)];

    /// <summary>What the files and the layers above them say together, or all that is wrong with the files.</summary>
    public (FrozenDictionary<string, Setting>? Settings, IReadOnlyList<string> Errors) Merge(IReadOnlyList<SettingsText> texts)
    {
        var merged = new Dictionary<string, Setting>(StringComparer.OrdinalIgnoreCase);
        var errors = new List<string>();
        foreach (var text in texts)
        {
            if (text.Error is not null)
            {
                errors.Add(text.Error);
            }
            else if (text.Bytes is not null)
            {
                Merge(text, merged, errors);
            }
        }

        foreach (var (key, setting) in _above)
        {
            merged[key] = setting;
        }

        return errors.Count == 0 ? (merged.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase), []) : (null, errors);
    }

    /// <summary>What the rest of the host is to see. Whoever watches the configuration, such as the filters of log levels, hears of it.</summary>
    public void Publish(IReadOnlyDictionary<string, Setting> settings)
    {
        Data = settings.ToDictionary(static pair => pair.Key, static pair => (string?)pair.Value.Value, StringComparer.OrdinalIgnoreCase);
        OnReload();
    }

    /// <summary>Settings as the binder takes them.</summary>
    public static IConfiguration Bindable(IReadOnlyDictionary<string, Setting> settings) => new ConfigurationBuilder()
        .AddInMemoryCollection(settings.Select(static pair => KeyValuePair.Create(pair.Key, (string?)pair.Value.Value)))
        .Build();

    private static string? ShortArgument(string[] args)
    {
        const string Short = "--settings";
        for (var i = 0; i < args.Length; i++)
        {
            if (args[i].StartsWith(Short + "=", StringComparison.Ordinal))
            {
                return args[i][(Short.Length + 1)..];
            }

            if (args[i] == Short && i + 1 < args.Length)
            {
                return args[i + 1];
            }
        }

        return null;
    }

    private void KeepAbove(IEnumerable<IConfigurationProvider> providers)
    {
        foreach (var provider in providers)
        {
            var origin = provider is CommandLineConfigurationProvider ? "command line" : "environment";
            foreach (var (key, value) in new ConfigurationRoot([provider]).AsEnumerable())
            {
                if (value is not null)
                {
                    _above[key] = new Setting(value, origin);
                }
            }
        }
    }

    private SettingsText Read((string Path, string Origin, bool IsRequired) file)
    {
        // Several looks a second: no exception at each for a file that need not be there.
        if (!file.IsRequired && !_found.Contains(file.Path) && !File.Exists(file.Path))
        {
            return new SettingsText(file.Path, file.Origin, null, null);
        }

        try
        {
            var bytes = File.ReadAllBytes(file.Path);
            _found.Add(file.Path);
            return new SettingsText(file.Path, file.Origin, bytes, null);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            // Gone is not empty: to leave everything to the other layers, write {}.
            return new SettingsText(file.Path, file.Origin, null, file.IsRequired || _found.Contains(file.Path)
                ? $"{file.Origin}: the settings file is not there. Put it back; one that says nothing is {{}}."
                : null);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return new SettingsText(file.Path, file.Origin, null, $"{file.Origin}: the settings file cannot be read: {error.Message}");
        }
    }

    private static void Merge(SettingsText text, Dictionary<string, Setting> into, List<string> errors)
    {
        try
        {
            foreach (var (key, value) in new ConfigurationBuilder().AddJsonStream(new MemoryStream(text.Bytes!)).Build().AsEnumerable())
            {
                if (value is not null)
                {
                    into[key] = new Setting(value, text.Origin);
                }
            }
        }
        catch (Exception error) when (error is FormatException or JsonException or InvalidDataException)
        {
            errors.Add($"{text.Origin}: the settings file is no JSON object of settings: {(error.InnerException ?? error).Message}");
        }
    }
}
