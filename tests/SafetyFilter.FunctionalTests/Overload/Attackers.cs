using System.Buffers.Binary;
using System.Net;
using System.Net.Http.Headers;

namespace SafetyFilter.FunctionalTests.Overload;

/// <summary>gRPC's unary calls by a bare HTTP client, several times as many a second as with one exception per refusal.</summary>
internal sealed class Attackers(string tcp) : IDisposable
{
    private static readonly MediaTypeHeaderValue Grpc = new("application/grpc");

    private readonly Uri _filter = new(new Uri(tcp), "/safetyfilter.v1.SafetyFilter/Filter");
    private readonly HttpMessageInvoker _http = new(new SocketsHttpHandler { EnableMultipleHttp2Connections = true, UseProxy = false });

    /// <summary>The grpc-status that a message is answered with.</summary>
    public async Task<string> StatusAsync(byte[] message)
    {
        // One byte that says that it is not compressed, four for its length.
        var body = new byte[5 + message.Length];
        BinaryPrimitives.WriteInt32BigEndian(body.AsSpan(1), message.Length);
        message.CopyTo(body, 5);
        using var request = new HttpRequestMessage(HttpMethod.Post, _filter)
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Content = new ByteArrayContent(body) { Headers = { ContentType = Grpc } },
            Headers = { { "TE", "trailers" } },
        };
        using var response = await _http.SendAsync(request, TestContext.Current.CancellationToken);
        await response.Content.CopyToAsync(Stream.Null, TestContext.Current.CancellationToken);
        var headers = response.Headers.Contains("grpc-status") ? response.Headers : response.TrailingHeaders;
        return Assert.Single(headers.GetValues("grpc-status"));
    }

    public void Dispose() => _http.Dispose();
}
