using System.CommandLine;

namespace SafetyFilter.Benchmarks.Cache;

/// <summary><c>cache</c>: what the verdict cache saves and costs a request of the engine, on pages whose contents come again.</summary>
internal static class CacheCommand
{
    public static Command Create()
    {
        var quick = new Option<bool>("--quick") { Description = "A tenth of the work: for trying the harness, not for figures." };
        var output = new Option<string?>("--out") { Description = "Also write the tables to this Markdown file." };
        var command = new Command("cache", "CPU and allocation per request with the verdict cache and without, in process, on pages drawn by Zipf's law.");
        command.Options.Add(quick);
        command.Options.Add(output);
        command.SetAction(async (parsed, stop) =>
        {
            var report = new Report(parsed.InvocationConfiguration.Output);
            CacheFigures.Measure(report, parsed.GetValue(quick) ? 10 : 1);
            UpkeepFigures.Measure(report, parsed.GetValue(quick) ? 10 : 1);
            if (parsed.GetValue(output) is { } path)
            {
                await File.WriteAllTextAsync(path, report.Markdown, stop);
            }

            return 0;
        });
        return command;
    }
}
