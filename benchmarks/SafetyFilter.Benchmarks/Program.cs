using System.CommandLine;
using SafetyFilter.Benchmarks.Breaker;
using SafetyFilter.Benchmarks.Ledger;
using SafetyFilter.Benchmarks.Start;

var root = new RootCommand("Benchmarks of SafetyFilter. Results are committed under benchmarks/results with the command that makes them.");
root.Subcommands.Add(LedgerCommand.Create());
root.Subcommands.Add(BreakerCommand.Create());
root.Subcommands.Add(StartCommand.Create());
return await root.Parse(args).InvokeAsync();
