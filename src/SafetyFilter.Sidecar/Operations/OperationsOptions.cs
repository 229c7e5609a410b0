using System.Net;
using SafetyFilter.Sidecar.Hosting;

namespace SafetyFilter.Sidecar.Operations;

/// <summary>Where operators reach the sidecar. Section <c>Operations</c>.</summary>
internal sealed class OperationsOptions
{
    /// <summary>Path of the Unix domain socket for operations. Whoever may connect may do everything, so it is opened on purpose. Default empty: none.</summary>
    public string UnixSocket { get; set; } = "";

    /// <summary>Permissions of the socket, octal. Default 600: only the sidecar's own user, who could change its files anyway.</summary>
    public string UnixSocketMode { get; set; } = "600";

    /// <summary>Loopback host:port for operations (h2c), or empty for none, which is the default. Needs <see cref="TokensFile"/>; port 0 takes a free one.</summary>
    public string Tcp { get; set; } = "";

    /// <summary>Who may call over TCP: lines of <c>NAME read|change SHA256-OF-TOKEN-IN-HEX</c>. Read again when it changes. Default empty: nobody.</summary>
    public string TokensFile { get; set; } = "";

    public UnixFileMode SocketMode => (UnixFileMode)Convert.ToInt32(UnixSocketMode, 8);

    public IEnumerable<string> Validate()
    {
        foreach (var error in ListenOptions.SocketErrors("Operations", UnixSocket, UnixSocketMode))
        {
            yield return error;
        }

        if (Tcp.Length == 0)
        {
            yield break;
        }

        if (!ListenOptions.TryParse(Tcp, out var endPoint))
        {
            yield return $"Operations:Tcp '{Tcp}' is not address:port. Use one such as 127.0.0.1:5601.";
        }
        else if (!IPAddress.IsLoopback(endPoint.Address))
        {
            yield return $"Operations:Tcp '{Tcp}' is not a loopback address, and tokens would travel in the clear. Use 127.0.0.1 and a proxy or tunnel that encrypts, or Operations:UnixSocket.";
        }

        if (TokensFile.Length == 0)
        {
            yield return "Operations:Tcp needs Operations:TokensFile: without it nobody could call.";
        }
        else if (!File.Exists(TokensFile))
        {
            yield return $"Operations:TokensFile '{TokensFile}' does not exist. Make it with lines of NAME read|change SHA256-OF-TOKEN-IN-HEX.";
        }
    }
}
