using System.CommandLine;
using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.Operations.V1;
using Spectre.Console;

namespace SafetyFilter.Cli.Operations;

/// <summary><c>safetyfilter status</c>: what a sidecar serves and how it fares, once or as a live view.</summary>
internal sealed class StatusCommand
{
    private readonly OperationsArguments _operations = new();
    private readonly Option<bool> _watch = new("--watch") { Description = "Keep showing it, with rates, until Ctrl+C." };
    private readonly Option<double> _interval = new("--interval")
    {
        Description = "Seconds between two looks, 0.1 to 60.",
        DefaultValueFactory = static _ => 1,
        HelpName = "SECONDS",
    };

    private readonly Option<bool> _json = new("--json") { Description = "One JSON object; with --watch one a line." };

    public static Command Create()
    {
        var self = new StatusCommand();
        var command = new Command("status", "What a sidecar serves and how it fares. Exit code: 0 serving, 1 not serving or not reached, 2 wrong arguments.");
        self._operations.AddTo(command);
        command.Options.Add(self._watch);
        command.Options.Add(self._interval);
        command.Options.Add(self._json);
        command.SetAction((parsed, stop) => self._operations.Call(
            parsed, (stub, options) => parsed.GetValue(self._watch) ? self.Watch(parsed, stub, options) : self.Show(parsed, stub, options), stop));
        return command;
    }

    private async Task<int> Show(ParseResult parsed, SafetyFilter.Operations.V1.Operations.OperationsClient stub, CallOptions options)
    {
        var status = await stub.GetStatusAsync(new GetStatusRequest(), options);
        var output = parsed.InvocationConfiguration.Output;
        if (parsed.GetValue(_json))
        {
            await output.WriteLineAsync(JsonFormatter.Default.Format(status));
        }
        else
        {
            Screen.Open(output).Write(StatusView.Of(status, before: null));
        }

        return status.Serving ? 0 : OperationsArguments.Refused;
    }

    private async Task<int> Watch(ParseResult parsed, SafetyFilter.Operations.V1.Operations.OperationsClient stub, CallOptions options)
    {
        var request = new WatchStatusRequest { IntervalMillis = (uint)Math.Clamp(parsed.GetValue(_interval) * 1000, 0, uint.MaxValue) };
        using var call = stub.WatchStatus(request, options);
        var output = parsed.InvocationConfiguration.Output;
        if (parsed.GetValue(_json))
        {
            while (await call.ResponseStream.MoveNext(options.CancellationToken))
            {
                await output.WriteLineAsync(JsonFormatter.Default.Format(call.ResponseStream.Current));
            }

            return 0;
        }

        var console = Screen.Open(output);
        if (!console.Profile.Capabilities.Interactive)
        {
            await Follow(call, options, console.Write);
            return 0;
        }

        await console.Live(new Text("")).StartAsync(live => Follow(call, options, view =>
        {
            live.UpdateTarget(view);
            live.Refresh();
        }));
        return 0;
    }

    private static async Task Follow(AsyncServerStreamingCall<SidecarStatus> call, CallOptions options, Action<Spectre.Console.Rendering.IRenderable> show)
    {
        SidecarStatus? before = null;
        while (await call.ResponseStream.MoveNext(options.CancellationToken))
        {
            show(StatusView.Of(call.ResponseStream.Current, before));
            before = call.ResponseStream.Current;
        }
    }
}
