using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Tests.Ledger;

public sealed class LeafRingTests
{
    private readonly LeafRing _ring = new();

    [Fact]
    public void TryRead_WhatWasStored_IsThatAndNothingElse()
    {
        _ring.Store(7, Leaf(7), isDecision: true);
        _ring.Store(8, Leaf(8), isDecision: false);

        Assert.True(_ring.TryRead(7, out var leaf, out var isDecision));
        Assert.Equal((Leaf(7), true), (leaf, isDecision));
        Assert.True(_ring.TryRead(8, out _, out isDecision));
        Assert.False(isDecision);
        Assert.False(_ring.TryRead(6, out _, out _));
        Assert.False(_ring.TryRead(7 + LeafRing.Slots, out _, out _));
    }

    [Fact]
    public void Store_ALapLater_TakesTheSlotAndNeverGivesItBack()
    {
        _ring.Store(7, Leaf(7), isDecision: false);
        _ring.Store(7 + LeafRing.Slots, Leaf(1), isDecision: false);
        _ring.Store(7, Leaf(7), isDecision: false);

        Assert.False(_ring.TryRead(7, out _, out _));
        Assert.True(_ring.TryRead(7 + LeafRing.Slots, out var leaf, out _));
        Assert.Equal(Leaf(1), leaf);
    }

    [Fact]
    public async Task TryRead_WhileManyStoreIntoTheSameSlots_NeverGivesATornLeaf()
    {
        const int Laps = 20_000;
        const int Slots = 4;
        using var stop = new CancellationTokenSource();
        var read = 0;
        var reader = Task.Run(
            () =>
            {
                for (ulong sequence = 1; !stop.IsCancellationRequested; sequence++)
                {
                    var looked = sequence % (Slots * Laps) / Slots * LeafRing.Slots + sequence % Slots + 1;
                    if (_ring.TryRead(looked, out var leaf, out _))
                    {
                        Assert.Equal(Leaf(looked), leaf);
                        read++;
                    }
                }
            },
            TestContext.Current.CancellationToken);

        // Several appenders at one slot, laps apart: whoever loses leaves it alone.
        await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => Task.Run(
            () =>
            {
                for (ulong lap = 0; lap < Laps; lap++)
                {
                    for (ulong slot = 1; slot <= Slots; slot++)
                    {
                        var sequence = lap * LeafRing.Slots + slot;
                        _ring.Store(sequence, Leaf(sequence), isDecision: false);
                    }
                }
            },
            TestContext.Current.CancellationToken)));

        Assert.True(_ring.TryRead((Laps - 1UL) * LeafRing.Slots + 1, out var last, out _));
        Assert.Equal(Leaf((Laps - 1UL) * LeafRing.Slots + 1), last);
        await stop.CancelAsync();
        await reader;
    }

    /// <summary>Each byte tells the sequence, so that half of one and half of another is seen.</summary>
    private static TreeHash Leaf(ulong sequence)
    {
        Span<byte> bytes = stackalloc byte[TreeHash.Length];
        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ulong>(bytes).Fill(sequence);
        return TreeHash.Read(bytes);
    }
}
