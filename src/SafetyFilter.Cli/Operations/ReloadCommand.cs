using System.CommandLine;
using System.Globalization;
using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.Operations.V1;

namespace SafetyFilter.Cli.Operations;

/// <summary><c>safetyfilter reload</c>: brings changed policies and settings into effect now, or tells what that would do.</summary>
internal sealed class ReloadCommand
{
    private readonly OperationsArguments _operations = new();
    private readonly Option<bool> _dryRun = new("--dry-run") { Description = "Only tell what would happen." };
    private readonly Option<bool> _force = new("--force") { Description = "Even if more recent candidates change than Reload:MaxChangedShare allows." };
    private readonly Option<bool> _json = new("--json") { Description = "The result as one JSON object." };

    public static Command Create()
    {
        var self = new ReloadCommand();
        var command = new Command("reload", "Bring what the sidecar's files say into effect. Exit code: 0 accepted, 1 refused or not reached, 2 wrong arguments.");
        self._operations.AddTo(command);
        command.Options.Add(self._dryRun);
        command.Options.Add(self._force);
        command.Options.Add(self._json);
        command.SetAction((parsed, stop) => self._operations.Call(parsed, (stub, options) => self.Run(parsed, stub, options), stop));
        return command;
    }

    private async Task<int> Run(ParseResult parsed, SafetyFilter.Operations.V1.Operations.OperationsClient stub, CallOptions options)
    {
        var dryRun = parsed.GetValue(_dryRun);
        var response = await stub.ReloadAsync(new ReloadRequest { DryRun = dryRun, Force = parsed.GetValue(_force) }, options);
        var output = parsed.InvocationConfiguration.Output;
        if (parsed.GetValue(_json))
        {
            await output.WriteLineAsync(JsonFormatter.Default.Format(response));
        }
        else
        {
            await Print(output, response, dryRun);
        }

        return response.Accepted ? 0 : OperationsArguments.Refused;
    }

    private static async Task Print(TextWriter output, ReloadResponse response, bool dryRun)
    {
        foreach (var one in response.Differences)
        {
            await output.WriteLineAsync($"{one.Key}: '{one.Before}' -> '{one.After}'{(one.NeedsRestart ? " (at the next start only)" : "")}");
        }

        if (response.Effect is { } effect)
        {
            await output.WriteLineAsync(string.Create(
                CultureInfo.InvariantCulture,
                $"of {effect.Candidates:N0} candidates in {effect.Decisions:N0} recent decisions: {effect.Stricter:N0} stricter, {effect.Laxer:N0} laxer, {effect.Relabelled:N0} relabelled; {effect.NotRecomputable:N0} decisions could not be decided again"));
        }

        foreach (var error in response.Errors)
        {
            await output.WriteLineAsync(error);
        }

        await output.WriteLineAsync((response.Accepted, response.Changed, dryRun) switch
        {
            (false, _, true) => "WOULD BE REFUSED",
            (false, _, false) => "REFUSED: all stays as it was",
            (true, false, _) => "nothing to change: what the files say is in effect",
            (true, true, true) => "would be accepted",
            (true, true, false) => "in effect",
        });
    }
}
