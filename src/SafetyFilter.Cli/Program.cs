using System.CommandLine;
using SafetyFilter.Cli;
using SafetyFilter.Cli.Demo;
using SafetyFilter.Cli.Load;

return await new RootCommand("A safety filter beside a recommendation ranker: see it work, load it, audit what it decided.")
{
    DemoCommand.Create(),
    LoadCommand.Create(),
    AuditCommand.Create(),
    PolicyCommand.Create(),
}.Parse(args).InvokeAsync();
