using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace SafetyFilter.Sidecar.Operations;

/// <summary>A connection that came in over an operations listener. A feature of the connection, so that every request on it finds it.</summary>
/// <param name="Name">Of the caller as the kernel knows it (<c>uid 1000, pid 7</c>), or null over TCP, where a token has to say.</param>
internal sealed record OperationsPeer(string? Name)
{
    /// <summary>Marks every connection of a listener.</summary>
    public static void Mark(Microsoft.AspNetCore.Server.Kestrel.Core.ListenOptions listen) => listen.Use(next => connection =>
    {
        connection.Features.Set(new OperationsPeer(NameOf(connection)));
        return next(connection);
    });

    /// <summary>Null on every other listener.</summary>
    public static OperationsPeer? Of(HttpContext http) => http.Features.Get<OperationsPeer>();

    private static string? NameOf(ConnectionContext connection)
    {
        if (connection.Features.Get<IConnectionSocketFeature>()?.Socket is not { AddressFamily: AddressFamily.Unix } socket)
        {
            return null;
        }

        // struct ucred of unix(7): pid, uid, gid.
        const int SolSocket = 1;
        const int SoPeerCred = 17;
        Span<byte> credentials = stackalloc byte[12];
        socket.GetRawSocketOption(SolSocket, SoPeerCred, credentials);
        return $"uid {BitConverter.ToInt32(credentials[4..])}, pid {BitConverter.ToInt32(credentials)}";
    }
}
