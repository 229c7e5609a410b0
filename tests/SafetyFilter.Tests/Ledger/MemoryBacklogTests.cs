using CsCheck;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger;

public sealed class MemoryBacklogTests
{
    /// <summary>Against a queue: any mix of adding, moving and hashing, at any sizes, keeps order and content and never overfills.</summary>
    [Fact]
    public void AddAndMove_InAnyMix_IsAQueue() =>
        Gen.Select(Gen.Int[0, 3], Gen.Int[1, 900]).Array[1, 400].Sample(static steps =>
        {
            const int Capacity = 4096;
            using var backlog = new MemoryBacklog(Capacity);
            var queue = new Queue<(ulong Sequence, int Length)>();
            var hashing = new Queue<nint>();
            ulong sequence = 0;
            foreach (var (step, length) in steps)
            {
                Step(backlog, queue, hashing, step, length, ref sequence);
            }

            while (queue.Count > 0)
            {
                Move(backlog, queue);
            }

            Assert.True(backlog.IsEmpty_NeedsLock);
            ReleaseAll(hashing);

            // All room is back.
            Assert.True(Add(backlog, 1, Capacity - 64, hashing));
            ReleaseAll(hashing);
        });

    [Fact]
    public void Add_FramesThatAreStillHashed_AreNotOverwritten()
    {
        using var backlog = new MemoryBacklog(1024);
        var hashing = new Queue<nint>();
        var queue = new Queue<(ulong, int)>();
        Assert.True(Add(backlog, 1, 700, hashing));
        queue.Enqueue((1, 700));
        Move(backlog, queue);

        Assert.False(Add(backlog, 2, 700, hashing));
        ReleaseAll(hashing);
        Assert.True(Add(backlog, 2, 700, hashing));
        ReleaseAll(hashing);
    }

    [Fact]
    public void Add_NoCapacity_HasNoRoom()
    {
        using var backlog = new MemoryBacklog(0);
        Assert.False(Add(backlog, 1, 10, []));
    }

    private static void Step(
        MemoryBacklog backlog, Queue<(ulong Sequence, int Length)> queue, Queue<nint> hashing, int step, int length, ref ulong sequence)
    {
        switch (step)
        {
            case 0 when queue.Count > 0:
                Move(backlog, queue);
                break;
            case 1:
                ReleaseAll(hashing);
                break;
            default:
                if (Add(backlog, sequence + 1, length, hashing))
                {
                    queue.Enqueue((++sequence, length));
                }

                break;
        }
    }

    private static unsafe bool Add(MemoryBacklog backlog, ulong sequence, int length, Queue<nint> hashing)
    {
        var frame = new FrameHeader { Length = (uint)(length + SegmentFormat.TrailerLength), Epoch = 1, TypeAndReserved = 1, Sequence = sequence };
        var body = new byte[length];
        Array.Fill(body, (byte)sequence);
        var at = backlog.TryAdd_NeedsLock(ref frame, SegmentFormat.Crc32C(uint.MaxValue, body), body, length);
        if (at is not null)
        {
            hashing.Enqueue((nint)at);
        }

        return at is not null;
    }

    private static unsafe void Move(MemoryBacklog backlog, Queue<(ulong Sequence, int Length)> queue)
    {
        var (sequence, length) = queue.Dequeue();
        Assert.True(backlog.TryPeek_NeedsLock(out var at, out var frameLength, out var candidates));
        Assert.Equal(FrameState.Valid, SegmentFormat.TryReadFrame(new ReadOnlySpan<byte>(at, frameLength), out var frame));
        Assert.Equal((sequence, length), (frame.Sequence, candidates));
        backlog.Advance_NeedsLock(frameLength);
    }

    private static unsafe void ReleaseAll(Queue<nint> hashing)
    {
        while (hashing.TryDequeue(out var at))
        {
            MemoryBacklog.Release((byte*)at);
        }
    }
}
