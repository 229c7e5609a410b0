using System.Net.Sockets;
using NSec.Cryptography;
using SafetyFilter.Ledger;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>How a key service misbehaves.</summary>
public enum KeyFault
{
    None,
    HasNoKey,
    GivesAKeyOfAnotherKind,
    RefusesToSign,
    NeverSigns,
    SignsWithAnotherKey,
}

/// <summary>
/// A key service: a thread that makes an Ed25519 key, keeps it to itself, and gives its public half and signatures over a Unix socket. A
/// question is <c>K</c>, or <c>S</c> and the message, up to the end of what is sent; the answer is 32 or 64 bytes, or nothing for a refusal.
/// </summary>
internal sealed class KeyService : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-kms-");
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly List<Socket> _unanswered = [];
    private readonly KeyFault _fault;
    private readonly Thread _thread;
    private int _signatures;

    public KeyService(KeyFault fault = KeyFault.None)
    {
        _fault = fault;
        Address = Path.Combine(_folder.FullName, "kms.sock");
        _listener.Bind(new UnixDomainSocketEndPoint(Address));
        _listener.Listen();
        _thread = new Thread(Serve) { IsBackground = true };
        _thread.Start();
    }

    public string Address { get; }

    /// <summary>How many it was asked for.</summary>
    public int Signatures => Volatile.Read(ref _signatures);

    public void Dispose()
    {
        _listener.Dispose();
        _thread.Join();
        _folder.Delete(recursive: true);
    }

    private void Serve()
    {
        using var key = Key.Create(SignatureAlgorithm.Ed25519);
        try
        {
            while (true)
            {
                Answer(_listener.Accept(), key);
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
            // Disposed.
            _unanswered.ForEach(static caller => caller.Dispose());
        }
    }

    private void Answer(Socket caller, Key key)
    {
        var question = new byte[4096];
        var length = 0;
        while (caller.Receive(question.AsSpan(length)) is var read and not 0)
        {
            length += read;
        }

        if (question[0] == 'K')
        {
            caller.Send(_fault switch
            {
                KeyFault.HasNoKey => [],
                KeyFault.GivesAKeyOfAnotherKind => new byte[65],
                _ => key.PublicKey.Export(KeyBlobFormat.RawPublicKey),
            });
            caller.Dispose();
            return;
        }

        Interlocked.Increment(ref _signatures);
        if (_fault == KeyFault.NeverSigns)
        {
            _unanswered.Add(caller);
            return;
        }

        using var other = Key.Create(SignatureAlgorithm.Ed25519);
        if (_fault != KeyFault.RefusesToSign)
        {
            caller.Send(SignatureAlgorithm.Ed25519.Sign(_fault == KeyFault.SignsWithAnotherKey ? other : key, question.AsSpan(1, length - 1)));
        }

        caller.Dispose();
    }
}

/// <summary>What an operator writes for his key service.</summary>
internal sealed class KeyServiceIdentity(string address) : IIdentitySigner
{
    public const string KeyName = "test/key-service";

    public string Name => KeyName;

    public ValueTask<ReadOnlyMemory<byte>> GetPublicKeyAsync(CancellationToken cancellationToken) => AskAsync([(byte)'K'], cancellationToken);

    public ValueTask<ReadOnlyMemory<byte>> SignAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken) =>
        AskAsync([(byte)'S', .. message.Span], cancellationToken);

    private async ValueTask<ReadOnlyMemory<byte>> AskAsync(byte[] question, CancellationToken cancellationToken)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(address), cancellationToken);
        using var answer = new MemoryStream();
        await using var stream = new NetworkStream(socket);
        await stream.WriteAsync(question, cancellationToken);
        socket.Shutdown(SocketShutdown.Send);
        await stream.CopyToAsync(answer, cancellationToken);
        return answer.Length > 0 ? answer.ToArray() : throw new IOException("AccessDenied");
    }
}
