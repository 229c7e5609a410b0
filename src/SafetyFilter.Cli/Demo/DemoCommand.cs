using System.CommandLine;
using SafetyFilter.Cli.Traffic;
using Spectre.Console;

namespace SafetyFilter.Cli.Demo;

/// <summary><c>safetyfilter demo</c>: the whole system on one machine, from nothing, in under two minutes.</summary>
internal static class DemoCommand
{
    public static Command Create()
    {
        var data = new Option<string?>("--data")
        {
            Description = "Folder of real texts (candidates.tsv.gz and others). Without it, titles are invented.",
            HelpName = "FOLDER",
        };
        var requests = new Option<int>("--requests")
        {
            Description = "Pages to ask for, 200 to 100000.",
            DefaultValueFactory = _ => 3_000,
        };
        requests.Validators.Add(result =>
        {
            var count = result.GetValueOrDefault<int>();
            if (count is < 200 or > 100_000)
            {
                result.AddError($"--requests {count} is outside 200 to 100000. Fewer show nothing; for more there is `safetyfilter load`.");
            }
        });
        var seed = new Option<ulong>("--seed") { Description = "The same seed sends the same pages.", DefaultValueFactory = _ => 1 };
        var keep = new Option<bool>("--keep") { Description = "Leave the temporary folder with the ledger in place." };

        var command = new Command("demo", "Start a sidecar, play a ranker against it, break a classifier, verify the ledger.")
        {
            data, requests, seed, keep,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var options = new DemoOptions(parsed.GetValue(data), parsed.GetValue(requests), parsed.GetValue(seed), parsed.GetValue(keep));
            var screen = new DemoScreen(Screen.Open());
            try
            {
                return await new DemoRun(options, screen).RunAsync(cancellationToken);
            }
            catch (Exception error) when (error is TrafficException or SidecarFailedException)
            {
                screen.Failed(error.Message);
                return 1;
            }
        });
        return command;
    }
}

internal sealed record DemoOptions(string? DataFolder, int Requests, ulong Seed, bool Keep);
