using System.Collections.Concurrent;
using System.Net;

namespace SafetyFilter.Sidecar.Grpc;

/// <summary>Who called, as the transport knows it: "uds", or the peer's address without its port.</summary>
internal static class CallerNames
{
    // A sidecar has a handful of callers. The bound keeps an exposed port from growing it without end.
    private const int MostRemembered = 256;

    private static readonly ConcurrentDictionary<IPAddress, string> Names = new();

    public static string Of(ConnectionInfo connection)
    {
        if (connection.RemoteIpAddress is not { } address)
        {
            return "uds";
        }

        if (Names.TryGetValue(address, out var name))
        {
            return name;
        }

        name = address.ToString();
        if (Names.Count < MostRemembered)
        {
            Names.TryAdd(address, name);
        }

        return name;
    }
}
