using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace SafetyFilter.Ledger.Proof;

/// <summary>A node of a stream's RFC 6962 tree: SHA-256, 32 bytes.</summary>
[InlineArray(Length)]
internal struct TreeHash : IEquatable<TreeHash>
{
    public const int Length = 32;

    private byte _first;

    /// <summary>The leaf of a record that nobody can read any more: that of an empty record.</summary>
    public static TreeHash EmptyLeaf { get; } = OfLeaf([]);

    /// <summary>The root of a tree without leaves.</summary>
    public static TreeHash EmptyRoot { get; } = Read(SHA256.HashData([]));

    /// <summary>SHA-256(0x00 || record).</summary>
    public static TreeHash OfLeaf(ReadOnlySpan<byte> record)
    {
        using var sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        return OfLeaf(sha, record);
    }

    /// <summary>The same with a hash of the caller's, for many.</summary>
    public static TreeHash OfLeaf(IncrementalHash sha256, ReadOnlySpan<byte> record)
    {
        var leaf = default(TreeHash);
        sha256.AppendData([0]);
        sha256.AppendData(record);
        sha256.GetHashAndReset(leaf);
        return leaf;
    }

    /// <summary>SHA-256(0x01 || left || right).</summary>
    public static TreeHash OfNode(in TreeHash left, in TreeHash right)
    {
        Span<byte> input = stackalloc byte[1 + 2 * Length];
        input[0] = 1;
        ((ReadOnlySpan<byte>)left).CopyTo(input[1..]);
        ((ReadOnlySpan<byte>)right).CopyTo(input[(1 + Length)..]);
        var node = default(TreeHash);
        SHA256.HashData(input, node);
        return node;
    }

    /// <summary>Takes the first 32 bytes.</summary>
    public static TreeHash Read(ReadOnlySpan<byte> bytes) => MemoryMarshal.Read<TreeHash>(bytes);

    public readonly bool Equals(TreeHash other) => ((ReadOnlySpan<byte>)this).SequenceEqual(other);

    public override readonly bool Equals(object? obj) => obj is TreeHash other && Equals(other);

    public override readonly int GetHashCode() => MemoryMarshal.Read<int>(this);

    public readonly string ToBase64() => Convert.ToBase64String(this);

    /// <summary>Lower-case hexadecimal.</summary>
    public override readonly string ToString() => Convert.ToHexStringLower(this);

    public static bool operator ==(in TreeHash left, in TreeHash right) => left.Equals(right);

    public static bool operator !=(in TreeHash left, in TreeHash right) => !left.Equals(right);
}
