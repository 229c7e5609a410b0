using System.Collections.Concurrent;
using Grpc.Core;
using Grpc.Core.Interceptors;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Observability;

namespace SafetyFilter.Sidecar.Operations;

/// <summary>Lets operators in: only over an operations listener, and there only those with the right. Who is turned away is recorded.</summary>
internal sealed partial class OperationsAccess(
    AccessTokens tokens, OperationsJournal journal, TimeProvider time, ILogger<OperationsAccess> logger) : Interceptor
{
    private const string Scheme = "Bearer ";

    // Beyond it callers share a place, so that nobody grows the sidecar by calling from many addresses.
    private const int MostCallers = 256;

    private static readonly object ActorKey = new();

    private readonly ConcurrentDictionary<(SecurityEvent.Types.Kind Kind, string Caller), LogThrottle> _denials = new();

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
            Deny(SecurityEvent.Types.Kind.Unauthenticated, caller, context.Method);
            throw new RpcException(new Status(StatusCode.Unauthenticated, "Operations over TCP need metadata 'authorization: Bearer TOKEN' with a token of Operations:TokensFile."));
        }

        if (operatorOf.Right < RightFor(context.Method))
        {
            Deny(SecurityEvent.Types.Kind.PermissionDenied, operatorOf.Name, context.Method);
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

    private void Deny(SecurityEvent.Types.Kind kind, string caller, string method)
    {
        var place = _denials.Count < MostCallers || _denials.ContainsKey((kind, caller)) ? caller : "others";
        if (!_denials.GetOrAdd((kind, place), _ => new LogThrottle(time)).TryTake(out var unsaid))
        {
            return;
        }

        Denied(logger, kind, caller, method, unsaid);
        if (journal.Denied(kind, caller, method, (ulong)unsaid + 1) is not AppendResult.Appended and var appended)
        {
            NotRecorded(logger, kind, caller, appended);
        }
    }

    [LoggerMessage(EventIds.OperationsDenied, LogLevel.Warning, "Operations: {Kind}, '{Caller}' called {Method} ({Unsaid} more of the kind since the last line)")]
    private static partial void Denied(ILogger logger, SecurityEvent.Types.Kind kind, string caller, string method, long unsaid);

    [LoggerMessage(EventIds.OperationsNotRecorded, LogLevel.Warning, "The ledger has no room for the record of a denial ({Kind}, '{Caller}'): {Result}")]
    private static partial void NotRecorded(ILogger logger, SecurityEvent.Types.Kind kind, string caller, AppendResult result);

    [LoggerMessage(EventIds.OperationsTokensUnreadable, LogLevel.Warning, "{Error}")]
    private static partial void TokensUnreadable(ILogger logger, string error);
}
