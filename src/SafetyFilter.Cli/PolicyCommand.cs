using System.CommandLine;
using SafetyFilter.Filtering;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;

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
                var loaded = ClassifierSet.Load(folder, BundleLimits.Default, TimeProvider.System);
                if (loaded.Value is not { } classifiers)
                {
                    error.WriteLine(loaded.Report);
                    return PolicyCheck.WrongUsage;
                }

                known = classifiers.PolicyTerms();
                classifiers.Dispose();
            }

            return new PolicyCheck(output, error).Run(parsed.GetValue(paths) ?? [], known, parsed.GetValue(json), DateTimeOffset.UtcNow);
        });
        return new Command("policy", "Works with policy files.") { check };
    }
}
