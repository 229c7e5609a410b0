using System.CommandLine;
using SafetyFilter.Benchmarks.Breaker;
using SafetyFilter.Benchmarks.Cache;
using SafetyFilter.Benchmarks.Ledger;

var root = new RootCommand("Benchmarks of SafetyFilter. Results are committed under benchmarks/results with the command that makes them.");
root.Subcommands.Add(LedgerCommand.Create());
root.Subcommands.Add(BreakerCommand.Create());
root.Subcommands.Add(CacheCommand.Create());
return await root.Parse(args).InvokeAsync();
