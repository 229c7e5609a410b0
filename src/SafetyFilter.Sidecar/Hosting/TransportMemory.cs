using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Connections;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>Memory for Kestrel's sockets and pipes, in blocks of <see cref="BlockBytes"/>.</summary>
/// <remarks>
/// Kestrel's own blocks are 4 KiB, and it reads a socket one block at a time: a page of 256 embeddings takes 34 system calls, as many steps of
/// the parser, and chains of as many links. Blocks of 16 KiB cost a fifth less CPU per request, these 2 to 6 in a hundred
/// less again. A connection that waits holds none.
/// </remarks>
internal sealed class TransportMemory : IMemoryPoolFactory<byte>
{
    private const int BlockBytes = 64 << 10;

    // 16 MiB. What a burst needed beyond it is left to the garbage collector.
    private const int MostKept = 256;

    // One for all listeners and their queues, which ask for one each.
    private readonly Pool _pool = new();

    public MemoryPool<byte> Create(MemoryPoolOptions? options = null) => _pool;

    private sealed class Pool : MemoryPool<byte>
    {
        private readonly ConcurrentQueue<Block> _kept = new();
        private int _count;

        public override int MaxBufferSize => BlockBytes;

        public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan(minBufferSize, BlockBytes);
            if (!_kept.TryDequeue(out var block))
            {
                return new Block(this);
            }

            Interlocked.Decrement(ref _count);
            return block;
        }

        public void Return(Block block)
        {
            if (Interlocked.Increment(ref _count) > MostKept)
            {
                Interlocked.Decrement(ref _count);
                return;
            }

            _kept.Enqueue(block);
        }

        protected override void Dispose(bool disposing)
        {
        }
    }

    // On the heap of pinned objects, so that no system call has to pin it.
    private sealed class Block(Pool pool) : IMemoryOwner<byte>
    {
        public Memory<byte> Memory { get; } = MemoryMarshal.CreateFromPinnedArray(GC.AllocateUninitializedArray<byte>(BlockBytes, pinned: true), 0, BlockBytes);

        public void Dispose() => pool.Return(this);
    }
}
