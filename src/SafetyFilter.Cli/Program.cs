using System.CommandLine;
using SafetyFilter.Cli;
using SafetyFilter.Cli.Demo;
using SafetyFilter.Cli.Load;
using SafetyFilter.Cli.Operations;

return await new RootCommand("A safety filter beside a recommendation ranker: see it work, load it, audit what it decided.")
{
    DemoCommand.Create(),
    LoadCommand.Create(),
    AuditCommand.Create(),
    PolicyCommand.Create(),
    StatusCommand.Create(),
    BreakerCommand.Create(),
    ReloadCommand.Create(),
    ConfigCommand.Create(),
}.Parse(args).InvokeAsync();
