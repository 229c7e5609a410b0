using System.Collections.Immutable;
using System.CommandLine;
using SafetyFilter.Cli.Demo;

namespace SafetyFilter.Benchmarks.Service;

/// <summary><c>service</c>: the real sidecar under load, beside what gRPC alone and what the model alone cost.</summary>
internal static class ServiceCommand
{
    public static Command Create()
    {
        var quick = new Option<bool>("--quick") { Description = "Few and short rounds: for trying the harness, not for figures." };
        var workload = new Option<string?>("--workload") { Description = $"Some of {string.Join(", ", Workload.All.Select(each => each.Name))}, with commas between; all without it." };
        var pairs = new Option<int?>("--pairs") { Description = "Rounds; every ratio is their median. 7 without it." };
        var rate = new Option<double?>("--rate") { Description = "Requests per second; half of the sidecar's saturation without it." };
        var noLadder = new Option<bool>("--no-ladder") { Description = "Leave out the ladder of loads: half the time, and nothing to plot." };
        var sidecars = new Option<string[]>("--sidecar") { Description = "Another build of the sidecar to measure beside this one, as NAME=PROGRAM. May be repeated." };
        var external = new Option<string?>("--external") { Description = "A command that starts another server on the Unix socket {socket} with the bundles of {models}, to measure it beside the sidecar." };
        var compatible = new Option<bool>("--proto-compatible") { Description = "Says that --external serves filter.proto." };
        var serverCore = new Option<int>("--server-core") { Description = "The core that servers are pinned to.", DefaultValueFactory = _ => 0 };
        var clientCore = new Option<int>("--client-core") { Description = "The core that the load is pinned to.", DefaultValueFactory = _ => 1 };
        var json = new Option<string?>("--json") { Description = "Also write all figures to this JSON file." };
        var plot = new Option<string?>("--plot") { Description = "Also plot latency against load to this file, .svg or .png; with several workloads, one each." };
        var output = new Option<string?>("--out") { Description = "Also write the tables to this Markdown file." };
        var command = new Command("service", "CPU, latency, allocation and saturation of the real sidecar, interleaved with two floors.")
        {
            quick, workload, pairs, rate, noLadder, sidecars, external, compatible, serverCore, clientCore, json, plot, output,
        };
        command.SetAction(async (parsed, stop) =>
        {
            var errors = new List<string>();
            var workloads = Workload.Parse(parsed.GetValue(workload), out var unknown);
            var cores = new Cores(parsed.GetValue(serverCore), parsed.GetValue(clientCore));
            var options = parsed.GetValue(quick) ? ServiceOptions.Quick : ServiceOptions.Full;
            options = options with
            {
                Workloads = workloads,
                Cores = cores,
                Pairs = parsed.GetValue(pairs) ?? options.Pairs,
                Rate = parsed.GetValue(rate),
                Ladder = parsed.GetValue(noLadder) ? [] : options.Ladder,
                Sidecars = Sidecars(parsed.GetValue(sidecars) ?? [], errors),
                External = parsed.GetValue(external),
            };
            AddIf(unknown);
            AddIf(cores.Error(Environment.ProcessorCount));
            AddIf(options.Pairs is < 1 or > 1_000 ? $"--pairs {options.Pairs} is outside 1 to 1000." : null);
            AddIf(options.Rate is { } given && !(given is > 0 and <= 100_000) ? $"--rate {given} is outside 0 to 100000 requests per second." : null);
            AddIf(options.External is not null && !parsed.GetValue(compatible)
                ? "--external needs --proto-compatible: only a server of filter.proto can answer these requests." : null);
            AddIf(LatencyPlot.Error(parsed.GetValue(plot)));
            AddIf(options.Ladder.IsEmpty && parsed.GetValue(plot) is not null ? "--plot draws the ladder. Leave out --no-ladder." : null);
            if (errors.Count > 0)
            {
                await Console.Error.WriteLineAsync(string.Join(Environment.NewLine, errors));
                return 2;
            }

            try
            {
                return await RunAsync(options, new Report(parsed.InvocationConfiguration.Output), parsed.GetValue(json), parsed.GetValue(plot), parsed.GetValue(output), stop);
            }
            catch (Exception error) when (error is SidecarFailedException or IOException)
            {
                await Console.Error.WriteLineAsync(error.Message);
                return 1;
            }

            void AddIf(string? error)
            {
                if (error is not null)
                {
                    errors.Add(error);
                }
            }
        });
        return command;
    }

    private static async Task<int> RunAsync(ServiceOptions options, Report report, string? json, string? plot, string? output, CancellationToken stop)
    {
        options.Cores.PinClient();
        var models = Path.Combine(AppContext.BaseDirectory, "models");
        var items = new ItemSet(models, options.Seed);
        var results = new List<WorkloadResult>();
        ServiceReport.Begin(report, options);
        foreach (var workload in options.Workloads)
        {
            var result = await new WorkloadRun(options, workload, items, models, Console.Error).RunAsync(stop);
            ServiceReport.Show(report, result);
            results.Add(result);
            if (plot is not null)
            {
                LatencyPlot.Save(result, LatencyPlot.PathOf(plot, workload, options.Workloads.Length));
            }
        }

        ServiceReport.Goals(report, results);
        if (json is not null)
        {
            await File.WriteAllTextAsync(json, ServiceJson.Write(options, results), stop);
        }

        if (output is not null)
        {
            await File.WriteAllTextAsync(output, report.Markdown, stop);
        }

        return 0;
    }

    private static ImmutableArray<(string Name, string Program)> Sidecars(string[] given, List<string> errors)
    {
        var sidecars = ImmutableArray.CreateBuilder<(string, string)>();
        foreach (var each in given)
        {
            if (each.Split('=', 2) is [{ Length: > 0 } name, { Length: > 0 } program] && File.Exists(program))
            {
                sidecars.Add((name, Path.GetFullPath(program)));
            }
            else
            {
                errors.Add($"--sidecar '{each}' is not NAME=PROGRAM with a program that exists. Use e.g. aot=/tmp/aot/SafetyFilter.Sidecar.");
            }
        }

        return sidecars.ToImmutable();
    }
}
