using System.CommandLine;
using SafetyFilter.Cli.Audit;

namespace SafetyFilter.Cli;

/// <summary><c>safetyfilter audit</c>: reads ledgers, whether on disk or in Kafka.</summary>
internal static class AuditCommand
{
    /// <summary>All records are there and whole.</summary>
    public const int Verified = 0;

    /// <summary>Something is missing, damaged, doubled or out of order.</summary>
    public const int Findings = 1;

    /// <summary>The arguments are wrong, or the ledger cannot be read.</summary>
    public const int Unreadable = 2;

    public static Command Create()
    {
        var command = new Command("audit", "Read and verify decision ledgers: a spool folder, a stream's folder, a segment file or a Kafka topic.");
        command.Subcommands.Add(CatCommand.Create());
        command.Subcommands.Add(VerifyCommand.Create());
        command.Subcommands.Add(WitnessCommand.Create());
        command.Subcommands.Add(EraseCommand.Create());
        command.Subcommands.Add(ReplayCommand.Create());
        command.Subcommands.Add(WhatIfCommand.Create());
        command.Subcommands.Add(ExportCommand.Create());
        command.Subcommands.Add(ShowCommand.Create());
        return command;
    }
}
