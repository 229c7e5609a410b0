using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>Makes the sockets that Kestrel listens on.</summary>
internal static class SocketBinding
{
    /// <summary>
    /// A bound socket on which nobody can connect yet. That of a Unix path has its mode by then: binding gives it what the umask leaves of
    /// 777, and until someone listens the kernel refuses every connection, so there is no moment at which the umask decides who may.
    /// </summary>
    /// <exception cref="SocketException">The address is taken or not to be had.</exception>
    /// <exception cref="IOException">The mode cannot be set.</exception>
    public static Socket Bind(EndPoint endPoint, SidecarOptions options)
    {
        var socket = SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint);
        try
        {
            if (endPoint is UnixDomainSocketEndPoint)
            {
                var path = endPoint.ToString()!;
                File.SetUnixFileMode(path, path == options.Operations.UnixSocket ? options.Operations.SocketMode : options.Listen.SocketMode);
            }

            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
