using System.Collections.Frozen;
using System.Diagnostics.CodeAnalysis;
using System.IO.Hashing;
using System.Text;

namespace SafetyFilter.Policy;

/// <summary>A set of texts that is asked with UTF-8 bytes.</summary>
internal sealed class Utf8Set(IEnumerable<string> values)
{
    private readonly FrozenSet<byte[]>.AlternateLookup<ReadOnlySpan<byte>> _lookup =
        values.Select(Encoding.UTF8.GetBytes).ToFrozenSet(Utf8Comparer.Instance).GetAlternateLookup<ReadOnlySpan<byte>>();

    public bool Contains(ReadOnlySpan<byte> utf8) => _lookup.Contains(utf8);
}

/// <summary>Equality of UTF-8 texts by their bytes; dictionaries keyed by byte[] can be asked with a span.</summary>
internal sealed class Utf8Comparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
{
    public static Utf8Comparer Instance { get; } = new();

    public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);

    public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

    public int GetHashCode([DisallowNull] byte[] obj) => GetHashCode(obj.AsSpan());

    public int GetHashCode(ReadOnlySpan<byte> alternate) => (int)XxHash3.HashToUInt64(alternate);

    public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();
}
