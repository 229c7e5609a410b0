using System.CommandLine;

namespace SafetyFilter.Benchmarks.Start;

/// <summary><c>start</c>: executables of the sidecar side by side, such as the compiled-as-it-runs and the native one: start, memory, CPU per request.</summary>
internal static class StartCommand
{
    public static Command Create()
    {
        var sidecars = new Option<string[]>("--sidecar")
        {
            Description = "NAME=FILE[,VARIABLE=VALUE...]: another executable, and what its environment says. Repeat it for more.",
            Required = true,
        };
        var rounds = new Option<int>("--rounds") { Description = "Rounds; each one starts and loads every executable in turn.", DefaultValueFactory = _ => 5 };
        var rate = new Option<double>("--rate") { Description = "Requests per second of each load.", DefaultValueFactory = _ => 100 };
        var quick = new Option<bool>("--quick") { Description = "A fifth of the load: for trying the harness, not for figures." };
        var output = new Option<string?>("--out") { Description = "Also write the tables to this Markdown file." };
        var command = new Command("start", "Start to serving, memory and CPU per request of the sidecar beside this program and of others.")
        {
            sidecars, rounds, rate, quick, output,
        };
        command.SetAction(async (parsed, stop) =>
        {
            var contenders = new List<Contender> { Contender.Jit };
            foreach (var text in parsed.GetRequiredValue(sidecars))
            {
                if (Contender.Parse(text, out var error) is not { } contender)
                {
                    await Console.Error.WriteLineAsync(error);
                    return 2;
                }

                contenders.Add(contender);
            }

            var report = new Report(parsed.InvocationConfiguration.Output);
            var plan = new StartPlan(parsed.GetValue(rounds), parsed.GetValue(rate), parsed.GetValue(quick) ? 2 : 10);
            await new StartFigures(plan, contenders).MeasureAsync(report, stop);
            if (parsed.GetValue(output) is { } path)
            {
                await File.WriteAllTextAsync(path, report.Markdown, stop);
            }

            return 0;
        });
        return command;
    }
}
