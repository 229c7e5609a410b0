using System.CommandLine;
using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.Operations.V1;
using Spectre.Console;

namespace SafetyFilter.Cli.Operations;

/// <summary><c>safetyfilter config</c>: every setting that is in force, and where its value comes from.</summary>
internal sealed class ConfigCommand
{
    private readonly OperationsArguments _operations = new();
    private readonly Argument<string> _prefix = new("prefix") { Description = "Only settings that begin so, e.g. Breaker.", DefaultValueFactory = static _ => "" };
    private readonly Option<bool> _json = new("--json") { Description = "The settings as one JSON object." };

    public static Command Create()
    {
        var self = new ConfigCommand();
        var command = new Command("config", "The settings of a sidecar as they are in force, each with its origin. Exit code: 0 told, 1 not reached, 2 wrong arguments.");
        self._operations.AddTo(command);
        command.Arguments.Add(self._prefix);
        command.Options.Add(self._json);
        command.SetAction((parsed, stop) => self._operations.Call(parsed, (stub, options) => self.Run(parsed, stub, options), stop));
        return command;
    }

    private async Task<int> Run(ParseResult parsed, SafetyFilter.Operations.V1.Operations.OperationsClient stub, CallOptions options)
    {
        var all = await stub.GetConfigurationAsync(new GetConfigurationRequest(), options);
        var prefix = parsed.GetRequiredValue(_prefix);
        var shown = new GetConfigurationResponse { Settings = { all.Settings.Where(one => one.Key.StartsWith(prefix, StringComparison.OrdinalIgnoreCase)) } };
        var output = parsed.InvocationConfiguration.Output;
        if (parsed.GetValue(_json))
        {
            await output.WriteLineAsync(JsonFormatter.Default.Format(shown));
            return 0;
        }

        var table = new Table { Border = TableBorder.Simple };
        table.AddColumns("setting", "value", "from", "at the next start");
        foreach (var one in shown.Settings)
        {
            table.AddRow(new Text(one.Key), new Text(one.Value), new Text(one.Origin), new Text(one.Pending));
        }

        Screen.Open(output).Write(table);
        return 0;
    }
}
