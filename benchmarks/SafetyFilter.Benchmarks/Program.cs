using System.CommandLine;
using SafetyFilter.Benchmarks.Breaker;
using SafetyFilter.Benchmarks.Budgets;
using SafetyFilter.Benchmarks.Ledger;
using SafetyFilter.Benchmarks.Micro;
using SafetyFilter.Benchmarks.Service;
using SafetyFilter.Benchmarks.Start;

var root = new RootCommand("Benchmarks of SafetyFilter. Results are committed under benchmarks/results with the command that makes them.");
root.Subcommands.Add(LedgerCommand.Create());
root.Subcommands.Add(BreakerCommand.Create());
root.Subcommands.Add(MicroCommand.Create());
root.Subcommands.Add(BudgetsCommand.Create());
root.Subcommands.Add(ServiceCommand.Create());
root.Subcommands.Add(GrpcFloor.Create());
root.Subcommands.Add(OrtFloor.Create());
root.Subcommands.Add(StartCommand.Create());
return await root.Parse(args).InvokeAsync();
