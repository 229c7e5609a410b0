using System.Net.Sockets;
using SafetyFilter.Sidecar.Hosting;
using SafetyFilter.Sidecar.Operations;

namespace SafetyFilter.Tests.Sidecar;

public sealed class SocketBindingTests
{
    [Theory]
    [InlineData("operations.sock", "600")]
    [InlineData("filter.sock", "666")]
    public void Bind_AUnixSocket_HasItsModeBeforeAnybodyCanConnect(string name, string mode)
    {
        var folder = Directory.CreateTempSubdirectory("sf-bind-");
        try
        {
            var options = new SidecarOptions
            {
                Listen = new ListenOptions { UnixSocket = Path.Combine(folder.FullName, "filter.sock"), UnixSocketMode = "666" },
                Operations = new OperationsOptions { UnixSocket = Path.Combine(folder.FullName, "operations.sock"), UnixSocketMode = "600" },
            };
            var path = Path.Combine(folder.FullName, name);

            using var bound = SocketBinding.Bind(new UnixDomainSocketEndPoint(path), options);

            Assert.Equal((UnixFileMode)Convert.ToInt32(mode, 8), File.GetUnixFileMode(path));
            using var caller = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            Assert.Equal(SocketError.ConnectionRefused, Assert.Throws<SocketException>(() => caller.Connect(new UnixDomainSocketEndPoint(path))).SocketErrorCode);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
