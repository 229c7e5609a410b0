using System.Buffers.Binary;
using System.Net.Sockets;
using Grpc.Core;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>Told once per request, on the connection's own thread: the answer, or null and why there is none.</summary>
internal delegate void Answered(FilterReply? reply, string status);

/// <summary>
/// One HTTP/2 connection that speaks gRPC and little else: requests are bytes with frame headers between them, answers are read by one
/// thread, which calls back. A general client costs as much CPU per request as the server that it is to saturate.
/// </summary>
/// <remarks>Thread-safe. Keeps to the peer's windows and frame size (RFC 9113, 5.2); sends never wait for them, the rest follows when they open.</remarks>
internal sealed class Http2Connection : IDisposable
{
    /// <summary>Streams that a server allows at a time, at the least: what RFC 9113 recommends, and Kestrel's default.</summary>
    public const int MostStreams = 100;

    private const int DefaultWindow = 65_535;
    private const int DefaultFrame = 16_384;
    private const int Prefix = 5;
    private const int HeaderTableSize = 1;
    private const int EnablePush = 2;
    private const int InitialWindowSize = 4;
    private const int MaxFrameSize = 5;

    // Sent at once; more than any request of the workloads.
    private const int OutBytes = 1 << 19;

    // The window that we open to the server, and how much of it may be used before it is opened again.
    private const int OurWindow = int.MaxValue;
    private const int Replenish = 1 << 29;

    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly byte[] _headers;
    private readonly bool _streamed;
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private readonly Dictionary<int, Http2Stream> _streams = [];
    private readonly Stack<Http2Stream> _idle = new();
    private readonly Queue<Http2Stream> _unsent = new();
    private readonly byte[] _out = new byte[OutBytes];
    private int _outLength;
    private int _nextStream = 1;
    private long _window = DefaultWindow;
    private int _streamWindow = DefaultWindow;
    private int _frame = DefaultFrame;
    private bool _isBroken;

    // Used only by the reading thread. Frames have at most DefaultFrame bytes, since our settings allow no more.
    private readonly byte[] _in = new byte[1 << 18];
    private int _inLength;
    private int _received;

    /// <param name="path">Of the method, e.g. <c>/package.Service/Method</c>.</param>
    /// <param name="timeout">Each call's deadline as <c>grpc-timeout</c> says it; null for none.</param>
    /// <param name="streamed">Whether a call stays open for one request after the other.</param>
    /// <exception cref="SocketException">Nobody listens there.</exception>
    public Http2Connection(string unixSocket, string path, string? timeout, bool streamed)
    {
        _headers = Http2Frame.Headers(path, timeout);
        _streamed = streamed;
        _socket.Connect(new UnixDomainSocketEndPoint(unixSocket));
        lock (_gate)
        {
            Append(Http2Frame.Preface);
            AppendSettings();
            AppendWindowUpdate(0, OurWindow - DefaultWindow);
            Flush();
        }

        new Thread(Read) { IsBackground = true, Name = "answers" }.Start();
    }

    /// <summary>Sends a request; <paramref name="answered"/> is called once, unless the server never answers.</summary>
    /// <returns>False when the connection is broken: then it is not called.</returns>
    public bool Send(byte[] request, Answered answered)
    {
        lock (_gate)
        {
            if (_isBroken)
            {
                return false;
            }

            var stream = Open();
            stream.Begin(request, answered);
            _unsent.Enqueue(stream);
            Pump();
            return true;
        }
    }

    public void Dispose() => _socket.Dispose();

    private Http2Stream Open()
    {
        if (_idle.TryPop(out var idle))
        {
            return idle;
        }

        var stream = new Http2Stream(_nextStream, _streamWindow);
        _nextStream += 2;
        _streams.Add(stream.Id, stream);
        return stream;
    }

    // Writes what the windows allow, in the order of the requests.
    private void Pump()
    {
        while (_unsent.TryPeek(out var stream))
        {
            if (!stream.IsOpened)
            {
                stream.IsOpened = true;
                AppendFrame(Http2FrameType.Headers, Http2Frame.EndHeaders, stream.Id, _headers);
            }

            while (stream.Unsent > 0)
            {
                var length = (int)Math.Min(Math.Min(_frame, stream.Unsent), Math.Min(_window, stream.Window));
                if (length <= 0)
                {
                    Flush();
                    return;
                }

                Reserve(Http2Frame.HeaderBytes + length);
                var last = length == stream.Unsent && !_streamed;
                new Http2Frame(length, Http2FrameType.Data, last ? Http2Frame.EndStream : (byte)0, stream.Id).Write(_out.AsSpan(_outLength));
                stream.TakeUnsent(_out.AsSpan(_outLength + Http2Frame.HeaderBytes, length));
                _outLength += Http2Frame.HeaderBytes + length;
                _window -= length;
            }

            _unsent.Dequeue();
        }

        Flush();
    }

    private void Read()
    {
        try
        {
            while (_socket.Receive(_in.AsSpan(_inLength)) is > 0 and var received)
            {
                _inLength += received;
                TakeFrames();
            }

        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
            // As if the server had closed it.
        }

        Break();
    }

    private void TakeFrames()
    {
        var at = 0;
        while (_inLength - at >= Http2Frame.HeaderBytes)
        {
            var frame = Http2Frame.Read(_in.AsSpan(at));
            if (_inLength - at < Http2Frame.HeaderBytes + frame.Length)
            {
                break;
            }

            Take(frame, _in.AsSpan(at + Http2Frame.HeaderBytes, frame.Length));
            at += Http2Frame.HeaderBytes + frame.Length;
        }

        _in.AsSpan(at, _inLength - at).CopyTo(_in);
        _inLength -= at;
    }

    private void Take(Http2Frame frame, ReadOnlySpan<byte> payload)
    {
        switch (frame.Type)
        {
            case Http2FrameType.Data:
                TakeData(frame, payload);
                break;
            case Http2FrameType.Headers when (frame.Flags & Http2Frame.EndStream) != 0:
                End(frame.Stream, Http2Frame.StatusIn(payload) is { } status ? ((StatusCode)status).ToString() : nameof(StatusCode.Unknown));
                break;
            case Http2FrameType.ResetStream:
                End(frame.Stream, "Reset");
                break;
            case Http2FrameType.Settings when (frame.Flags & Http2Frame.Acknowledges) == 0:
                TakeSettings(payload);
                break;
            case Http2FrameType.Ping when (frame.Flags & Http2Frame.Acknowledges) == 0:
                lock (_gate)
                {
                    AppendFrame(Http2FrameType.Ping, Http2Frame.Acknowledges, 0, payload);
                    Flush();
                }

                break;
            case Http2FrameType.WindowUpdate:
                TakeWindow(frame.Stream, BinaryPrimitives.ReadInt32BigEndian(payload) & int.MaxValue);
                break;
            case Http2FrameType.GoAway:
                Break();
                break;
        }
    }

    private void TakeData(Http2Frame frame, ReadOnlySpan<byte> payload)
    {
        _received += payload.Length;
        if (_received > Replenish)
        {
            lock (_gate)
            {
                AppendWindowUpdate(0, _received);
                Flush();
            }

            _received = 0;
        }

        if ((frame.Flags & Http2Frame.Padded) != 0)
        {
            payload = payload[1..^payload[0]];
        }

        if (Find(frame.Stream) is not { } stream)
        {
            return;
        }

        if (stream.TakeAnswer(payload, _streamed) && _streamed)
        {
            var (answered, reply) = stream.Finish();
            lock (_gate)
            {
                _idle.Push(stream);
            }

            answered(reply, nameof(StatusCode.OK));
        }

        if ((frame.Flags & Http2Frame.EndStream) != 0)
        {
            End(frame.Stream, nameof(StatusCode.Unknown));
        }
    }

    private void TakeSettings(ReadOnlySpan<byte> payload)
    {
        lock (_gate)
        {
            for (; payload.Length >= 6; payload = payload[6..])
            {
                var value = BinaryPrimitives.ReadInt32BigEndian(payload[2..]);
                switch (BinaryPrimitives.ReadInt16BigEndian(payload))
                {
                    case InitialWindowSize:
                        foreach (var stream in _streams.Values)
                        {
                            stream.Window += value - _streamWindow;
                        }

                        _streamWindow = value;
                        break;
                    case MaxFrameSize:
                        _frame = Math.Min(value, OutBytes / 2);
                        break;
                }
            }

            AppendFrame(Http2FrameType.Settings, Http2Frame.Acknowledges, 0, []);
            Pump();
        }
    }

    private void TakeWindow(int id, int opened)
    {
        lock (_gate)
        {
            if (id == 0)
            {
                _window += opened;
            }
            else if (_streams.TryGetValue(id, out var stream))
            {
                stream.Window += opened;
            }

            Pump();
        }
    }

    private Http2Stream? Find(int id)
    {
        lock (_gate)
        {
            return _streams.GetValueOrDefault(id);
        }
    }

    // The end of a stream that has answered is of no interest; nor is that of one which answers request after request, between two.
    private void End(int id, string status)
    {
        Http2Stream? stream;
        lock (_gate)
        {
            if (!_streams.Remove(id, out stream))
            {
                return;
            }

            // It may end before all of its request is sent.
            stream.Abandon();
        }

        if (stream.Finish() is (not null, _) and var (answered, reply))
        {
            answered(reply, reply is null ? status : nameof(StatusCode.OK));
        }
    }

    private void Break()
    {
        Http2Stream[] waiting;
        lock (_gate)
        {
            _isBroken = true;
            waiting = [.. _streams.Values];
            _streams.Clear();
            _unsent.Clear();
        }

        foreach (var stream in waiting)
        {
            if (stream.Finish() is (not null, _) and var (answered, _))
            {
                answered(null, nameof(StatusCode.Unavailable));
            }
        }
    }

    private void AppendSettings()
    {
        ReadOnlySpan<(short Id, int Value)> settings = [(HeaderTableSize, 0), (EnablePush, 0), (InitialWindowSize, OurWindow)];
        Span<byte> payload = stackalloc byte[6 * settings.Length];
        for (var i = 0; i < settings.Length; i++)
        {
            BinaryPrimitives.WriteInt16BigEndian(payload[(6 * i)..], settings[i].Id);
            BinaryPrimitives.WriteInt32BigEndian(payload[((6 * i) + 2)..], settings[i].Value);
        }

        AppendFrame(Http2FrameType.Settings, 0, 0, payload);
    }

    private void AppendWindowUpdate(int stream, int opened)
    {
        Span<byte> payload = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(payload, opened);
        AppendFrame(Http2FrameType.WindowUpdate, 0, stream, payload);
    }

    private void AppendFrame(Http2FrameType type, byte flags, int stream, ReadOnlySpan<byte> payload)
    {
        Span<byte> header = stackalloc byte[Http2Frame.HeaderBytes];
        new Http2Frame(payload.Length, type, flags, stream).Write(header);
        Append(header);
        Append(payload);
    }

    private void Append(ReadOnlySpan<byte> bytes)
    {
        Reserve(bytes.Length);
        bytes.CopyTo(_out.AsSpan(_outLength));
        _outLength += bytes.Length;
    }

    private void Reserve(int bytes)
    {
        if (_out.Length - _outLength < bytes)
        {
            Flush();
        }
    }

    private void Flush()
    {
        var rest = _out.AsSpan(0, _outLength);
        _outLength = 0;
        try
        {
            while (!rest.IsEmpty)
            {
                rest = rest[_socket.Send(rest)..];
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
            // The reading thread meets it too, and tells those who wait.
            _isBroken = true;
        }
    }

    /// <summary>A call: its request as far as it is not sent, its answer as far as it came.</summary>
    private sealed class Http2Stream(int id, int window)
    {
        private readonly byte[] _prefix = new byte[Prefix];
        private byte[] _request = [];
        private int _sent;
        private byte[] _message = new byte[4096];
        private int _messageLength;
        private Answered? _answered;
        private FilterReply? _reply;

        public int Id => id;

        public long Window { get; set; } = window;

        public bool IsOpened { get; set; }

        public int Unsent => Prefix + _request.Length - _sent;

        public void Begin(byte[] request, Answered answered)
        {
            _request = request;
            _sent = 0;
            _messageLength = 0;
            _reply = null;
            _answered = answered;

            // Not compressed, and its length.
            BinaryPrimitives.WriteInt32BigEndian(_prefix.AsSpan(1), request.Length);
        }

        public void TakeUnsent(Span<byte> into)
        {
            Window -= into.Length;
            if (_sent < Prefix)
            {
                var ofPrefix = Math.Min(Prefix - _sent, into.Length);
                _prefix.AsSpan(_sent, ofPrefix).CopyTo(into);
                _sent += ofPrefix;
                into = into[ofPrefix..];
            }

            _request.AsSpan(_sent - Prefix, into.Length).CopyTo(into);
            _sent += into.Length;
        }

        public void Abandon() => _sent = Prefix + _request.Length;

        /// <summary>Takes a piece of the answer; true once it is whole.</summary>
        public bool TakeAnswer(ReadOnlySpan<byte> piece, bool streamed)
        {
            if (_message.Length - _messageLength < piece.Length)
            {
                Array.Resize(ref _message, Math.Max(_message.Length * 2, _messageLength + piece.Length));
            }

            piece.CopyTo(_message.AsSpan(_messageLength));
            _messageLength += piece.Length;
            if (_messageLength < Prefix || _messageLength - Prefix < BinaryPrimitives.ReadInt32BigEndian(_message.AsSpan(1)))
            {
                return false;
            }

            _reply = FilterReply.Read(_message.AsSpan(Prefix, _messageLength - Prefix), streamed);
            return true;
        }

        /// <summary>Who waits, if somebody does, and the answer, if it came. Once per request.</summary>
        public (Answered Answered, FilterReply? Reply) Finish()
        {
            var answered = _answered;
            _answered = null;
            return (answered!, _reply);
        }
    }
}
