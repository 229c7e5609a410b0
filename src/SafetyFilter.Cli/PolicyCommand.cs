using System.CommandLine;
using System.Text.Json;
using SafetyFilter.Decisions;
using SafetyFilter.Policy;

namespace SafetyFilter.Cli;

/// <summary>`safetyfilter policy check FILE...|FOLDER [--models FOLDER] [--json]`: 0 fine, 1 errors, 2 wrong usage.</summary>
internal static class PolicyCommand
{
    public static Command Create()
    {
        var paths = new Argument<string[]>("path")
        {
            Description = "Policy files, or folders of them. They are checked together, as one set.",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var models = new Option<string?>("--models")
        {
            Description = "A folder of model bundles. Without it classifier names are only checked for their form.",
            HelpName = "FOLDER",
        };
        var json = new Option<bool>("--json") { Description = "Print the result as JSON." };
        var check = new Command("check", "Checks policy files offline and prints every error, or what each surface does. Exit codes: 0 fine, 1 errors, 2 wrong usage.")
        {
            paths,
            models,
            json,
        };
        check.SetAction(parsed =>
        {
            var (output, error) = (parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            IReadOnlyDictionary<string, ClassifierTerms>? known = null;
            if (parsed.GetValue(models) is { } folder)
            {
                try
                {
                    known = ReadTerms(folder);
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
                {
                    error.WriteLine($"The bundles in '{folder}' cannot be read: {e.Message} Name a folder that holds <name>/<version>/manifest.json.");
                    return PolicyCheck.WrongUsage;
                }
            }

            return new PolicyCheck(output, error).Run(parsed.GetValue(paths) ?? [], known, parsed.GetValue(json), DateTimeOffset.UtcNow);
        });
        return new Command("policy", "Works with policy files.") { check };
    }

    /// <summary>What the newest version of each bundle allows: only manifests are read, so that a check needs no model to load.</summary>
    private static Dictionary<string, ClassifierTerms> ReadTerms(string folder)
    {
        var terms = new Dictionary<string, ClassifierTerms>(StringComparer.Ordinal);
        foreach (var bundle in Directory.EnumerateDirectories(folder))
        {
            var newest = Directory.EnumerateDirectories(bundle)
                .Where(version => File.Exists(Path.Combine(version, "manifest.json")) && Version.TryParse(Path.GetFileName(version), out _))
                .MaxBy(version => Version.Parse(Path.GetFileName(version)));
            if (newest is not null)
            {
                var path = Path.Combine(newest, "manifest.json");
                using var manifest = JsonDocument.Parse(File.ReadAllBytes(path));
                AddTerms(manifest.RootElement, path, terms);
            }
        }

        return terms;
    }

    private static void AddTerms(JsonElement manifest, string path, Dictionary<string, ClassifierTerms> terms)
    {
        var expires = manifest.TryGetProperty("expires", out var day)
            ? new DateTimeOffset(day.GetDateTime().Date, TimeSpan.Zero).AddDays(1)
            : (DateTimeOffset?)null;
        foreach (var classifier in manifest.GetProperty("classifiers").EnumerateObject())
        {
            var maxAction = classifier.Value.GetProperty("maxAction").GetString() switch
            {
                "allow" => CandidateAction.Allow,
                "label" => CandidateAction.Label,
                "age-restrict" => CandidateAction.AgeRestrict,
                "demote" => CandidateAction.Demote,
                "block" => CandidateAction.Block,
                var other => throw new FormatException($"maxAction '{other}' of '{classifier.Name}' in {path} is not an action."),
            };
            terms.Add(
                $"{manifest.GetProperty("name").GetString()}/{classifier.Name}",
                new ClassifierTerms(maxAction, Strings(manifest, "purposes"), Strings(manifest, "surfaces"), expires));
        }
    }

    private static System.Collections.Immutable.ImmutableArray<string> Strings(JsonElement manifest, string name) =>
        [.. manifest.GetProperty(name).EnumerateArray().Select(item => item.GetString() ?? "")];
}
