using Grpc.Core;
using Grpc.Core.Interceptors;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Observability;

namespace SafetyFilter.Sidecar.Operations;

/// <summary>Lets operators in: only over an operations listener, and there only those with the right. Who is turned away is recorded.</summary>
internal sealed partial class OperationsAccess(
    AccessTokens tokens, DenialReport denials, ILogger<OperationsAccess> logger) : Interceptor
{
    private const string Scheme = "Bearer ";

    private static readonly object ActorKey = new();

    /// <summary>Who calls, for records and logs. Only within a call that was let in.</summary>
    public static string ActorOf(ServerCallContext context) => (string)context.UserState[ActorKey];

    public override Task<TResponse> UnaryServerHandler<TRequest, TResponse>(
        TRequest request, ServerCallContext context, UnaryServerMethod<TRequest, TResponse> continuation)
    {
        Admit(context);
        return continuation(request, context);
    }

    public override Task ServerStreamingServerHandler<TRequest, TResponse>(
        TRequest request, IServerStreamWriter<TResponse> responseStream, ServerCallContext context, ServerStreamingServerMethod<TRequest, TResponse> continuation)
    {
        Admit(context);
        return continuation(request, responseStream, context);
    }

    private void Admit(ServerCallContext context)
    {
        var http = context.GetHttpContext();
        if (OperationsPeer.Of(http) is not { } peer)
        {
            throw new RpcException(new Status(StatusCode.Unimplemented, "Operations have listeners of their own: Operations:UnixSocket and Operations:Tcp."));
        }

        if (peer.Name is { } name)
        {
            context.UserState[ActorKey] = name;
            return;
        }

        var caller = http.Connection.RemoteIpAddress?.ToString() ?? "";
        var header = http.Request.Headers.Authorization.ToString();
        var token = header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) ? header[Scheme.Length..].Trim() : "";
        var known = tokens.Find(token, out var error);
        if (error is not null)
        {
            TokensUnreadable(logger, error);
        }

        if (known is not { } operatorOf)
        {
            denials.Count(SecurityEvent.Types.Kind.Unauthenticated, caller, context.Method);
            throw new RpcException(new Status(StatusCode.Unauthenticated, "Operations over TCP need metadata 'authorization: Bearer TOKEN' with a token of Operations:TokensFile."));
        }

        if (operatorOf.Right < RightFor(context.Method))
        {
            denials.Count(SecurityEvent.Types.Kind.PermissionDenied, operatorOf.Name, context.Method);
            throw new RpcException(new Status(
                StatusCode.PermissionDenied, $"'{operatorOf.Name}' may read, and {context.Method} changes. Give the token the right 'change' in Operations:TokensFile."));
        }

        context.UserState[ActorKey] = operatorOf.Name;
    }

    // What is not known to read only, changes.
    private static OperationsRight RightFor(string method) => method[(method.LastIndexOf('/') + 1)..] switch
    {
        nameof(OperationsService.GetStatus) or nameof(OperationsService.WatchStatus) or nameof(OperationsService.ListBreakers) or nameof(OperationsService.GetConfiguration) => OperationsRight.Read,
        _ => OperationsRight.Change,
    };

    [LoggerMessage(EventIds.OperationsTokensUnreadable, LogLevel.Warning, "{Error}")]
    private static partial void TokensUnreadable(ILogger logger, string error);
}
