using System.CommandLine;

namespace SafetyFilter.Benchmarks.Ledger;

/// <summary><c>ledger</c>: what recording decisions costs a request, how fast an outage is caught up, how fast records are verified and replayed.</summary>
internal static class LedgerCommand
{
    public static Command Create()
    {
        var quick = new Option<bool>("--quick") { Description = "A tenth of the work: for trying the harness, not for figures." };
        var only = new Option<string?>("--only") { Description = "One part: append, kafka, drain or audit." };
        var output = new Option<string?>("--out") { Description = "Also write the tables to this Markdown file." };
        var command = new Command("ledger", "Append cost, Kafka's effect on requests, drain after an outage, verify and replay rates.");
        command.Options.Add(quick);
        command.Options.Add(only);
        command.Options.Add(output);
        command.SetAction(async (parsed, stop) =>
        {
            var report = new Report(parsed.InvocationConfiguration.Output);
            var scale = parsed.GetValue(quick) ? 10 : 1;
            var part = parsed.GetValue(only);
            if (part is null or "append")
            {
                AppendFigures.Measure(report, scale);
            }

            if (part is null or "kafka")
            {
                await KafkaFigures.MeasureAsync(report, scale, stop);
            }

            if (part is null or "drain")
            {
                DrainFigures.Measure(report, scale);
            }

            if (part is null or "audit")
            {
                await AuditFigures.MeasureAsync(report, scale, stop);
            }

            if (parsed.GetValue(output) is { } path)
            {
                await File.WriteAllTextAsync(path, report.Markdown, stop);
            }

            return 0;
        });
        return command;
    }
}
