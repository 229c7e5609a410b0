using System.CommandLine;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Exporters;
using BenchmarkDotNet.Filters;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;

namespace SafetyFilter.Benchmarks.Micro;

/// <summary><c>micro</c>: the steps of a request alone, by BenchmarkDotNet. Their allocations are held to budgets by <c>budgets</c>.</summary>
internal static class MicroCommand
{
    public static Command Create()
    {
        var filter = new Option<string>("--filter") { Description = "Benchmarks by name, * for anything, e.g. *Text*.", DefaultValueFactory = static _ => "*" };
        var command = new Command("micro", "Time and allocations of the steps of a request, by BenchmarkDotNet.") { filter };
        command.SetAction(parsed => Run(parsed.GetValue(filter)!));
        return command;
    }

    private static int Run(string filter)
    {
        // In this process: a project that BenchmarkDotNet generates would need a copy of this repository's build settings.
        var config = ManualConfig.CreateEmpty()
            .AddJob(Job.Default.WithToolchain(InProcessEmitToolchain.Instance).WithWarmupCount(3).WithIterationCount(12))
            .AddDiagnoser(MemoryDiagnoser.Default)
            .AddColumnProvider(DefaultColumnProviders.Instance)
            .AddLogger(ConsoleLogger.Default)
            .AddExporter(MarkdownExporter.GitHub)
            .AddFilter(new GlobFilter([filter]));
        var runs = BenchmarkCases.Types.Select(type => BenchmarkConverter.TypeToBenchmarks(type, config)).Where(static run => run.BenchmarksCases.Length > 0).ToArray();
        if (runs.Length == 0)
        {
            Console.Error.WriteLine($"--filter '{filter}' fits no benchmark. Use a name with * for anything, e.g. *Text*.");
            return 2;
        }

        return BenchmarkRunner.Run(runs).All(static summary => !summary.HasCriticalValidationErrors && summary.Reports.All(static report => report.Success)) ? 0 : 1;
    }
}
