using System.CommandLine;
using System.Net.Sockets;
using Grpc.Core;
using Grpc.Net.Client;
using SafetyFilter.Client;
using Stub = SafetyFilter.Operations.V1.Operations.OperationsClient;

namespace SafetyFilter.Cli.Operations;

/// <summary>How the commands for operators reach a sidecar, and what they say when they do not.</summary>
internal sealed class OperationsArguments
{
    /// <summary>The sidecar did not do it: refused, unknown, or not reached. Wrong arguments are 2.</summary>
    public const int Refused = 1;

    private const string TargetVariable = "SAFETYFILTER_OPERATIONS";
    private const string TokenVariable = "SAFETYFILTER_OPERATIONS_TOKEN";
    private const string UnixScheme = "unix:";

    private readonly Option<string?> _target = new("--operations")
    {
        Description = $"The sidecar's operations listener: unix:/path/to.sock (Operations:UnixSocket) or http://host:port (Operations:Tcp). Default: ${TargetVariable}.",
        HelpName = "ADDRESS",
    };

    private readonly Option<string?> _tokenFile = new("--token-file")
    {
        Description = $"A file with the token for TCP. Default: ${TokenVariable}.",
        HelpName = "FILE",
    };

    public void AddTo(Command command)
    {
        command.Options.Add(_target);
        command.Options.Add(_tokenFile);
    }

    /// <summary>Calls with the address and token that were given. Failures are told on standard error, each with its exit code.</summary>
    public async Task<int> Call(ParseResult parsed, Func<Stub, CallOptions, Task<int>> work, CancellationToken stop)
    {
        var errors = parsed.InvocationConfiguration.Error;
        var target = parsed.GetValue(_target) ?? Environment.GetEnvironmentVariable(TargetVariable);
        if (Channel(target) is not { } channel)
        {
            await errors.WriteLineAsync(
                $"'{target}' is no address of an operations listener. Give --operations unix:/path/to.sock or http://host:port, as the sidecar's Operations:UnixSocket or Operations:Tcp say.");
            return 2;
        }

        using (channel)
        {
            try
            {
                var token = parsed.GetValue(_tokenFile) is { } file ? (await File.ReadAllTextAsync(file, stop)).Trim() : Environment.GetEnvironmentVariable(TokenVariable);
                var headers = new Metadata();
                if (token is { Length: > 0 })
                {
                    headers.Add("authorization", "Bearer " + token);
                }

                return await work(new Stub(channel), new CallOptions(headers, cancellationToken: stop));
            }
            catch (IOException error)
            {
                await errors.WriteLineAsync(error.Message);
                return 2;
            }
            catch (RpcException) when (stop.IsCancellationRequested)
            {
                return 0;
            }
            catch (RpcException error)
            {
                await errors.WriteLineAsync(error.StatusCode == StatusCode.Unavailable
                    ? $"No sidecar answers at {target}: {error.Status.Detail}"
                    : error.Status.Detail);
                return Refused;
            }
        }
    }

    private static GrpcChannel? Channel(string? target)
    {
        if (target is null)
        {
            return null;
        }

        if (target.StartsWith(UnixScheme, StringComparison.Ordinal) && Path.IsPathRooted(target[UnixScheme.Length..]))
        {
            var endpoint = new UnixDomainSocketEndPoint(target[UnixScheme.Length..]);
            return GrpcChannel.ForAddress("http://localhost", new GrpcChannelOptions
            {
                HttpHandler = new SocketsHttpHandler { ConnectCallback = (_, token) => SafetyFilterClient.ConnectAsync(endpoint, token), UseProxy = false },
                DisposeHttpClient = true,
            });
        }

        return Uri.TryCreate(target, UriKind.Absolute, out var uri) && uri.Scheme is ("http" or "https") ? GrpcChannel.ForAddress(uri!) : null;
    }
}
