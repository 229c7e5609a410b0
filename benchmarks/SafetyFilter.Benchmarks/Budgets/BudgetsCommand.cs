using System.CommandLine;
using SafetyFilter.Benchmarks.Micro;

namespace SafetyFilter.Benchmarks.Budgets;

/// <summary><c>budgets</c>: what each benchmark allocates against <c>budgets.json</c>. Exits with 1 when one is exceeded or missing.</summary>
internal static class BudgetsCommand
{
    public static Command Create()
    {
        var command = new Command("budgets", "Allocated bytes per operation against benchmarks/budgets.json; fails when one is exceeded.");
        command.SetAction((parsed, stop) => RunAsync(new Report(parsed.InvocationConfiguration.Output), parsed.InvocationConfiguration.Error, stop));
        return command;
    }

    private static async Task<int> RunAsync(Report report, TextWriter errors, CancellationToken stop)
    {
        var budgets = Budget.Read(Path.Combine(AppContext.BaseDirectory, "budgets.json"));
        var bodies = BenchmarkCases.All.ToList();
        string[] names = [.. bodies.Select(BenchmarkCases.NameOf), .. RequestMeasure.Workloads.Select(RequestMeasure.NameOf)];
        var mistakes = Budget.Mistakes(budgets, names).ToList();
        foreach (var mistake in mistakes)
        {
            await errors.WriteLineAsync(mistake);
        }

        var rows = new List<string[]>();
        var isOver = false;
        foreach (var body in bodies)
        {
            Judge(BenchmarkCases.NameOf(body), BodyMeasure.Of(body));
        }

        foreach (var workload in RequestMeasure.Workloads)
        {
            Judge(RequestMeasure.NameOf(workload), await RequestMeasure.OfAsync(workload, stop));
        }

        report.Table(["benchmark", "budget B", "allocated B", "budget B, process", "allocated B, process", "verdict"], rows);
        return isOver || mistakes.Count > 0 ? 1 : 0;

        void Judge(string name, Allocations reached)
        {
            var budget = budgets.GetValueOrDefault(name);
            var verdict = budget is null ? "no budget" : budget.Allows(reached) ? "ok" : "EXCEEDED";
            isOver |= budget?.Allows(reached) == false;
            rows.Add([name, Show(budget?.Bytes), Show(reached.Thread), Show(budget?.ProcessBytes), Show(reached.Process), verdict]);
        }
    }

    private static string Show(double? bytes) => bytes is { } some && !double.IsNaN(some) ? Report.Number(some, some == Math.Floor(some) ? 0 : 2) : "-";
}
