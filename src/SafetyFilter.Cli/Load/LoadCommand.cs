using System.CommandLine;
using System.Net;
using System.Text.Json;
using SafetyFilter.Cli.Demo;
using SafetyFilter.Cli.Traffic;

namespace SafetyFilter.Cli.Load;

/// <summary><c>safetyfilter load</c>: the demo's ranker at a fixed rate, against a sidecar that is already running.</summary>
internal static class LoadCommand
{
    // What one process can send and keep in memory; beyond it the numbers would be about this program.
    private const int HighestRate = 50_000;
    private const int LongestSeconds = 3_600;
    private const int MostRequests = 10_000_000;

    public static Command Create()
    {
        var target = new Option<string>("--target") { Description = "unix:/path/to.sock or http://host:port", Required = true };
        var surface = new Option<string?>("--surface") { Description = $"One of {string.Join(", ", SurfaceProfile.All.Select(profile => profile.Name))}; a mix without it." };
        var candidates = new Option<int>("--candidates") { Description = "Candidates per page, 1 to 1000; 16 to 64 without it." };
        var rate = new Option<double>("--rate") { Description = "Requests per second.", DefaultValueFactory = _ => 200 };
        var duration = new Option<double>("--duration") { Description = "Seconds.", DefaultValueFactory = _ => 10 };
        var connections = new Option<int>("--connections") { Description = "Connections, 1 to 64.", DefaultValueFactory = _ => 2 };
        var deadline = new Option<double>("--deadline") { Description = "Milliseconds an answer may take.", DefaultValueFactory = _ => 1_000 };
        var data = new Option<string?>("--data") { Description = "Folder of real texts; invented ones without it.", HelpName = "FOLDER" };
        var seed = new Option<ulong>("--seed") { Description = "The same seed sends the same pages.", DefaultValueFactory = _ => 1 };
        var allowRemote = new Option<bool>("--allow-remote") { Description = "Load a host that is not this one. Ask whoever runs it first." };
        var json = new Option<bool>("--json") { Description = "The result as one JSON object." };

        var command = new Command("load", "Play the demo's ranker at a fixed rate against a running sidecar.")
        {
            target, surface, candidates, rate, duration, connections, deadline, data, seed, allowRemote, json,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var options = new LoadOptions(
                parsed.GetRequiredValue(target), parsed.GetValue(surface), parsed.GetValue(candidates), parsed.GetValue(rate), parsed.GetValue(duration),
                parsed.GetValue(connections), parsed.GetValue(deadline), parsed.GetValue(data), parsed.GetValue(seed));
            var errors = Errors(options, parsed.GetValue(allowRemote)).ToArray();
            if (errors.Length > 0)
            {
                await Console.Error.WriteLineAsync(string.Join(Environment.NewLine, errors));
                return 2;
            }

            try
            {
                return await RunAsync(options, parsed.GetValue(json), cancellationToken);
            }
            catch (TrafficException error)
            {
                await Console.Error.WriteLineAsync(error.Message);
                return 1;
            }
        });
        return command;
    }

    internal static IEnumerable<string> Errors(LoadOptions options, bool allowRemote)
    {
        if (!allowRemote && !IsThisHost(options.Target))
        {
            yield return $"--target {options.Target} is not this host. Load is for a sidecar of your own; --allow-remote says that it is meant.";
        }

        if (options.Surface is { } surface && SurfaceProfile.Named(surface) is null)
        {
            yield return $"--surface {surface} is not known. Use {string.Join(", ", SurfaceProfile.All.Select(profile => profile.Name))}, or leave it out for a mix.";
        }

        if (options.Candidates is < 0 or > 1_000)
        {
            yield return $"--candidates {options.Candidates} is outside 1 to 1000.";
        }

        if (!(options.Rate is > 0 and <= HighestRate))
        {
            yield return $"--rate {options.Rate} is outside 0 to {HighestRate} requests per second. For more, run several.";
        }

        if (!(options.Seconds is > 0 and <= LongestSeconds))
        {
            yield return $"--duration {options.Seconds} is outside 0 to {LongestSeconds} seconds.";
        }

        if (options.Rate * options.Seconds is > MostRequests or < 1)
        {
            yield return $"--rate {options.Rate} for --duration {options.Seconds} is {options.Rate * options.Seconds:0.##} requests; between 1 and {MostRequests} are sent.";
        }

        if (options.Connections is < 1 or > 64)
        {
            yield return $"--connections {options.Connections} is outside 1 to 64.";
        }

        if (!(options.DeadlineMillis is > 0 and <= 60_000))
        {
            yield return $"--deadline {options.DeadlineMillis} is outside 0 to 60000 milliseconds.";
        }
    }

    private static bool IsThisHost(string target) =>
        target.StartsWith("unix:", StringComparison.Ordinal)
        || (Uri.TryCreate(target, UriKind.Absolute, out var uri)
            && (uri.Host == "localhost" || (IPAddress.TryParse(uri.Host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address))));

    private static async Task<int> RunAsync(LoadOptions options, bool json, CancellationToken cancellationToken)
    {
        var catalogue = Catalogue.Load(options.DataFolder, options.Seed);
        if (options.Surface is null || SurfaceProfile.Named(options.Surface)!.HasEmbeddings)
        {
            CatalogueEncoder.Encode(catalogue, Path.Combine(AppContext.BaseDirectory, "models"));
        }

        var result = await new OpenLoop(options, new Ranker(catalogue, options.Seed)).RunAsync(cancellationToken);
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(LoadReport.Of(options, result), LoadJson.Default.LoadReport));
        }
        else
        {
            LoadReport.Show(Screen.Open(), options, result);
        }

        return result.Answered > 0 ? 0 : 1;
    }
}

/// <param name="Surface">Null for the usual mix.</param>
/// <param name="Candidates">0 for 16 to 64.</param>
internal sealed record LoadOptions(
    string Target, string? Surface, int Candidates, double Rate, double Seconds, int Connections, double DeadlineMillis, string? DataFolder, ulong Seed);
