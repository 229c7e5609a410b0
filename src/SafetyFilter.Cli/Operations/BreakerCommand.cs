using System.CommandLine;
using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.Operations.V1;
using Spectre.Console;

namespace SafetyFilter.Cli.Operations;

/// <summary><c>safetyfilter breaker ls|isolate|close</c>.</summary>
internal sealed class BreakerCommand
{
    private readonly OperationsArguments _operations = new();
    private readonly Option<bool> _json = new("--json") { Description = "The breakers as one JSON object." };
    private readonly Argument<string> _bundle = new("bundle") { Description = "The bundle's name, as ls shows it." };
    private readonly Option<string> _group = new("--group") { Description = "Only the breaker of this group; all of the bundle without it.", DefaultValueFactory = static _ => "" };

    public static Command Create() => new("breaker", "The circuit breakers of a sidecar. Exit code: 0 done, 1 refused or not reached, 2 wrong arguments.")
    {
        new BreakerCommand().List(),
        new BreakerCommand().Change(
            "isolate", "Open a breaker until it is closed by hand: its classifiers take their fail modes.", static (stub, request, options) => stub.IsolateBreakerAsync(request, options)),
        new BreakerCommand().Change(
            "close", "Close a breaker that is open or isolated. What it counted is forgotten.", static (stub, request, options) => stub.CloseBreakerAsync(request, options)),
    };

    private Command List()
    {
        var command = new Command("ls", "All breakers and their states.");
        _operations.AddTo(command);
        command.Options.Add(_json);
        command.SetAction((parsed, stop) => _operations.Call(
            parsed, async (stub, options) => Show(parsed, await stub.ListBreakersAsync(new ListBreakersRequest(), options)), stop));
        return command;
    }

    private Command Change(
        string name, string description, Func<SafetyFilter.Operations.V1.Operations.OperationsClient, BreakerRequest, CallOptions, AsyncUnaryCall<ListBreakersResponse>> call)
    {
        var command = new Command(name, description);
        _operations.AddTo(command);
        command.Arguments.Add(_bundle);
        command.Options.Add(_group);
        command.Options.Add(_json);
        command.SetAction((parsed, stop) => _operations.Call(
            parsed,
            async (stub, options) => Show(parsed, await call(stub, new BreakerRequest { Bundle = parsed.GetRequiredValue(_bundle), Group = parsed.GetRequiredValue(_group) }, options)),
            stop));
        return command;
    }

    private int Show(ParseResult parsed, ListBreakersResponse response)
    {
        var output = parsed.InvocationConfiguration.Output;
        if (parsed.GetValue(_json))
        {
            output.WriteLine(JsonFormatter.Default.Format(response));
        }
        else
        {
            Screen.Open(output).Write(StatusView.Breakers(response.Breakers));
        }

        return 0;
    }
}
