using System.Net;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>Where the sidecar listens. Section <c>Listen</c>.</summary>
internal sealed class ListenOptions
{
    // sockaddr_un holds 108 bytes with the terminating zero.
    private const int LongestSocketPath = 107;

    /// <summary>Path of the Unix domain socket for gRPC. The cheapest way for a ranker on the same machine. Default empty: none, since where that one can reach it differs.</summary>
    public string UnixSocket { get; set; } = "";

    /// <summary>Permissions of the socket, octal. Default 660: owner and group may connect, for a ranker runs as another user.</summary>
    public string UnixSocketMode { get; set; } = "660";

    /// <summary>host:port for gRPC without TLS (h2c), or empty for none. Default loopback, because there is no TLS; the port is chosen. Port 0 takes a free one.</summary>
    public string Tcp { get; set; } = "127.0.0.1:5600";

    /// <summary>host:port for the Prometheus endpoint /metrics over HTTP/1.1, or empty for none. Default loopback, and the port that OpenTelemetry's exporters have for it.</summary>
    public string Metrics { get; set; } = "127.0.0.1:9464";

    /// <summary>A file that is written with the bound addresses as JSON when the sidecar serves, and removed when it stops. Default empty: none, as health says it too.</summary>
    public string ReadyFile { get; set; } = "";

    public UnixFileMode SocketMode => (UnixFileMode)Convert.ToInt32(UnixSocketMode, 8);

    public IEnumerable<string> Validate()
    {
        if (UnixSocket.Length == 0 && Tcp.Length == 0)
        {
            yield return "Listen:UnixSocket and Listen:Tcp are both empty: nobody could call. Set at least one.";
        }

        foreach (var error in SocketErrors("Listen", UnixSocket, UnixSocketMode))
        {
            yield return error;
        }

        foreach (var (name, value) in new[] { (nameof(Tcp), Tcp), (nameof(Metrics), Metrics) })
        {
            if (value.Length > 0 && !TryParse(value, out _))
            {
                yield return $"Listen:{name} '{value}' is not address:port. Use one such as 127.0.0.1:5600, [::1]:5600 or 0.0.0.0:5600.";
            }
        }
    }

    /// <summary>What is wrong with a Unix socket's path and mode, as settings of <paramref name="section"/>.</summary>
    public static IEnumerable<string> SocketErrors(string section, string path, string mode)
    {
        if (System.Text.Encoding.UTF8.GetByteCount(path) > LongestSocketPath)
        {
            yield return $"{section}:UnixSocket '{path}' is longer than {LongestSocketPath} bytes, the system's limit. Use a shorter path.";
        }

        if (path.Length > 0 && !Path.IsPathFullyQualified(path))
        {
            yield return $"{section}:UnixSocket '{path}' is not an absolute path. Use one such as /run/safetyfilter/filter.sock.";
        }

        if (mode.Length is < 3 or > 4 || mode.Any(digit => digit is < '0' or > '7'))
        {
            yield return $"{section}:UnixSocketMode '{mode}' is not an octal mode. Use one such as 660.";
        }
    }

    public static bool TryParse(string value, out IPEndPoint endPoint)
    {
        if (value.StartsWith("localhost:", StringComparison.OrdinalIgnoreCase))
        {
            value = string.Concat("127.0.0.1", value.AsSpan("localhost".Length));
        }

        // IPEndPoint takes an address without a port for port 0; here the port must be said.
        return IPEndPoint.TryParse(value, out endPoint!) && value.LastIndexOf(':') > value.LastIndexOf(']') && value.Contains(':', StringComparison.Ordinal);
    }
}
