using System.Buffers;
using Grpc.Core;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Scoring;

namespace SafetyFilter.Sidecar.Grpc;

/// <summary>
/// One message on its way: the bytes that came, the decision made of them, the bytes that go. Pooled; the marshaller
/// takes it from the pool, and gives it back once the answer's bytes are with the transport.
/// </summary>
/// <remarks>
/// The marshaller does not interpret the bytes: an exception from it would end a whole stream for one bad message.
/// </remarks>
internal sealed class FilterCall
{
    // A larger buffer goes back to the shared pool with its request, which trims itself: 64 calls must not keep 64 huge pages.
    private const int LargestKeptPayload = 1 << 20;

    // One that is lost, because its client went away, is merely garbage.
    private static readonly SlotPool<FilterCall> Pool = new(64, static () => new FilterCall());

    private byte[] _payload = [];
    private int _length;

    public Decision Decision { get; } = new();

    /// <summary>Scratch for the ledger record.</summary>
    public ProtoWriter Record { get; } = new();

    /// <summary>The answer's message.</summary>
    public ProtoWriter Reply { get; } = new();

    /// <summary>Takes a message's bytes from the transport.</summary>
    public static FilterCall ReceiveFrom(DeserializationContext context)
    {
        var call = Pool.Rent();
        call._length = context.PayloadLength;
        if (call._payload.Length < call._length)
        {
            ArrayPool<byte>.Shared.Return(call._payload);
            call._payload = ArrayPool<byte>.Shared.Rent(call._length);
        }

        // The transport's buffer is only ours during this call, and models want their tensors contiguous: one copy.
        context.PayloadAsReadOnlySequence().CopyTo(call._payload);
        return call;
    }

    /// <summary>Reads the message into the decision's batch. Null when it is a request that can be decided.</summary>
    public Refusal? Read(RequestLimits limits)
    {
        var batch = Decision.Batch;
        batch.Reset();
        batch.Buffer = _payload;
        return _length > limits.MaxMessageBytes
            ? new Refusal(
                RefusalKind.TooLarge,
                $"The message has {_length} bytes; Limits:MaxMessageBytes is {limits.MaxMessageBytes}. Split the page over several requests.")
            : FilterRequestReader.Read(batch, _length, limits) ?? FilterRequestRules.Check(batch);
    }

    /// <summary>Hands the answer's bytes to the transport and the call to the pool: nobody may touch it afterwards.</summary>
    public void WriteTo(SerializationContext context)
    {
        context.SetPayloadLength(Reply.Length);
        context.GetBufferWriter().Write(Reply.Written);
        context.Complete();
        Release();
    }

    /// <summary>Gives the call back without an answer.</summary>
    public void Release()
    {
        if (_payload.Length > LargestKeptPayload)
        {
            ArrayPool<byte>.Shared.Return(_payload);
            _payload = [];
        }

        Pool.TryReturn(this);
    }
}
