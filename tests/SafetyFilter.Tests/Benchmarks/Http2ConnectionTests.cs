using System.Buffers.Binary;
using System.Net.Sockets;
using SafetyFilter.Benchmarks.Service;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Benchmarks;

/// <summary>The load's connection against a peer that says exactly what a test wants.</summary>
public sealed class Http2ConnectionTests : IDisposable
{
    private const string Path = "/safetyfilter.v1.SafetyFilter/Filter";
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-test-");
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    public Http2ConnectionTests()
    {
        _listener.Bind(new UnixDomainSocketEndPoint(SocketPath));
        _listener.Listen();
    }

    private string SocketPath => System.IO.Path.Combine(_folder.FullName, "peer.sock");

    public void Dispose()
    {
        _listener.Dispose();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task Send_RequestLargerThanTheWindow_SendsTheRestWhenItOpens()
    {
        using var connection = Connect(streamed: false, out var peer);
        using var _ = peer;
        var request = Enumerable.Range(0, 100_000).Select(i => (byte)i).ToArray();
        var answer = Send(connection, request);
        var sent = new List<byte>();
        while (sent.Count < 65_535)
        {
            sent.AddRange(peer.ReadData(1, mostLength: 16_384, isLast: false));
        }

        Assert.Equal(65_535, sent.Count);
        peer.OpenWindow(0, 1 << 20);
        peer.OpenWindow(1, 1 << 20);
        while (sent.Count < request.Length + 5)
        {
            sent.AddRange(peer.ReadData(1, mostLength: 16_384, isLast: null));
        }

        Assert.Equal([0, 0, 1, 0x86, 0xA0, .. request], sent);
        peer.Answer(1, [0x12, 1, 5, 0x60, 9], "0"u8, ends: true);
        Assert.Equal((1, 9u), await Verdicts(answer));
    }

    [Fact]
    public async Task Send_PeersSettings_AreAcknowledgedAndKeptTo()
    {
        using var connection = Connect(streamed: false, out var peer);
        using var _ = peer;
        peer.Settings(initialWindow: 10, maxFrame: 16_384);
        peer.ReadUntil(Http2FrameType.Settings, flags: Http2Frame.Acknowledges);
        var answer = Send(connection, new byte[20]);
        Assert.Equal(10, peer.ReadData(1, mostLength: 10, isLast: false).Length);
        peer.Settings(initialWindow: 25, maxFrame: 16_384);
        Assert.Equal(15, peer.ReadData(1, mostLength: 15, isLast: true).Length);
        peer.Answer(1, [], "8"u8, ends: true, message: false);
        Assert.Equal("ResourceExhausted", (await answer.WaitAsync(Patience, TestContext.Current.CancellationToken)).Status);
    }

    [Fact]
    public async Task Send_Streamed_AsksAgainOnTheStreamThatHasAnswered()
    {
        using var connection = Connect(streamed: true, out var peer);
        using var _ = peer;
        byte[] response = [0x0A, 3, 0x12, 1, 5];
        for (var turn = 0; turn < 2; turn++)
        {
            var answer = Send(connection, [1, 2, 3]);
            Assert.Equal([0, 0, 0, 0, 3, 1, 2, 3], peer.ReadData(1, mostLength: 16_384, isLast: false));
            peer.Answer(1, response, [], ends: false);
            Assert.Equal(1, (await Verdicts(answer)).Verdicts);
        }
    }

    [Fact]
    public async Task Send_PeerPings_IsAnsweredWithItsBytes()
    {
        using var connection = Connect(streamed: false, out var peer);
        using var _ = peer;
        byte[] payload = [1, 2, 3, 4, 5, 6, 7, 8];
        peer.Write(Http2FrameType.Ping, 0, 0, payload);
        Assert.Equal(payload, await Task.Run(() => peer.ReadUntil(Http2FrameType.Ping, Http2Frame.Acknowledges), TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Send_PeerGoesAway_SaysSoOnceAndRefusesMore()
    {
        using var connection = Connect(streamed: false, out var peer);
        var answer = Send(connection, [1]);
        peer.ReadData(1, mostLength: 16_384, isLast: true);
        peer.Dispose();
        Assert.Equal("Unavailable", (await answer.WaitAsync(Patience, TestContext.Current.CancellationToken)).Status);
        Assert.False(connection.Send([1], static (_, _) => Assert.Fail("It was not sent.")));
    }

    [Fact]
    public void StatusIn_Trailers_IsTheNumberBehindItsName()
    {
        Assert.Equal(4, Http2Frame.StatusIn([0x00, 11, .. "grpc-status"u8, 1, (byte)'4', 0x00, 1, (byte)'x', 1, (byte)'y']));
        Assert.Equal(14, Http2Frame.StatusIn([0x00, 11, .. "grpc-status"u8, 2, (byte)'1', (byte)'4']));
        Assert.Null(Http2Frame.StatusIn("grpc-status"u8));
        Assert.Null(Http2Frame.StatusIn([]));
    }

    [Fact]
    public void Write_FrameHeader_IsReadBack()
    {
        var frame = new Http2Frame(0x012345, Http2FrameType.Data, Http2Frame.EndStream, 0x01020305);
        Span<byte> header = stackalloc byte[Http2Frame.HeaderBytes];
        frame.Write(header);
        Assert.Equal(frame, Http2Frame.Read(header));
    }

    private Http2Connection Connect(bool streamed, out Peer peer)
    {
        var connection = new Http2Connection(SocketPath, Path, timeout: null, streamed);
        peer = new Peer(_listener.Accept());
        return connection;
    }

    private static Task<(FilterReply? Reply, string Status)> Send(Http2Connection connection, byte[] request)
    {
        var answer = new TaskCompletionSource<(FilterReply?, string)>(TaskCreationOptions.RunContinuationsAsynchronously);
        Assert.True(connection.Send(request, (reply, status) => answer.SetResult((reply, status))));
        return answer.Task;
    }

    private static async Task<(int Verdicts, uint EngineMicros)> Verdicts(Task<(FilterReply? Reply, string Status)> answer)
    {
        var (reply, status) = await answer.WaitAsync(Patience, TestContext.Current.CancellationToken);
        Assert.Equal("OK", status);
        return (reply!.Verdicts, reply.EngineMicros);
    }

    /// <summary>The server's side of the socket, frame by frame.</summary>
    private sealed class Peer : IDisposable
    {
        private readonly NetworkStream _stream;

        public Peer(Socket socket)
        {
            socket.ReceiveTimeout = (int)Patience.TotalMilliseconds;
            _stream = new NetworkStream(socket, ownsSocket: true);
            var preface = new byte[Http2Frame.Preface.Length];
            _stream.ReadExactly(preface);
            Assert.Equal(Http2Frame.Preface, preface);
        }

        public void Settings(int initialWindow, int maxFrame)
        {
            var payload = new byte[12];
            payload[1] = 4;
            BinaryPrimitives.WriteInt32BigEndian(payload.AsSpan(2), initialWindow);
            payload[7] = 5;
            BinaryPrimitives.WriteInt32BigEndian(payload.AsSpan(8), maxFrame);
            Write(Http2FrameType.Settings, 0, 0, payload);
        }

        public void OpenWindow(int stream, int bytes)
        {
            var payload = new byte[4];
            BinaryPrimitives.WriteInt32BigEndian(payload, bytes);
            Write(Http2FrameType.WindowUpdate, 0, stream, payload);
        }

        public void Answer(int stream, byte[] response, ReadOnlySpan<byte> status, bool ends, bool message = true)
        {
            if (message)
            {
                // In two frames: a message does not end where a frame does.
                byte[] framed = [0, 0, 0, 0, (byte)response.Length, .. response];
                Write(Http2FrameType.Data, 0, stream, framed[..3]);
                Write(Http2FrameType.Data, 0, stream, framed[3..]);
            }

            if (ends)
            {
                Write(
                    Http2FrameType.Headers, Http2Frame.EndHeaders | Http2Frame.EndStream, stream, [0x00, 11, .. "grpc-status"u8, (byte)status.Length, .. status]);
            }
        }

        public byte[] ReadData(int stream, int mostLength, bool? isLast)
        {
            while (true)
            {
                var (frame, payload) = Read();
                if (frame.Type == Http2FrameType.Data)
                {
                    Assert.Equal(stream, frame.Stream);
                    Assert.InRange(frame.Length, 0, mostLength);
                    Assert.True(isLast is null || isLast == ((frame.Flags & Http2Frame.EndStream) != 0));
                    return payload;
                }
            }
        }

        public byte[] ReadUntil(Http2FrameType type, byte flags)
        {
            while (true)
            {
                var (frame, payload) = Read();
                if (frame.Type == type && frame.Flags == flags)
                {
                    return payload;
                }
            }
        }

        public void Write(Http2FrameType type, byte flags, int stream, byte[] payload)
        {
            var header = new byte[Http2Frame.HeaderBytes];
            new Http2Frame(payload.Length, type, flags, stream).Write(header);
            _stream.Write([.. header, .. payload]);
        }

        public void Dispose() => _stream.Dispose();

        private (Http2Frame Frame, byte[] Payload) Read()
        {
            var header = new byte[Http2Frame.HeaderBytes];
            _stream.ReadExactly(header);
            var frame = Http2Frame.Read(header);
            var payload = new byte[frame.Length];
            _stream.ReadExactly(payload);
            return (frame, payload);
        }
    }
}
