using System.Collections.Immutable;
using System.Text;

namespace SafetyFilter.Decisions;

/// <summary>Parts of a record, in the order of <see cref="RecordPaths.All"/>.</summary>
[Flags]
internal enum RecordParts
{
    None = 0,
    RequestId = 1,
    Caller = 1 << 1,
    Trace = 1 << 2,
    CandidateIds = 1 << 3,
    ContentVersions = 1 << 4,
    InputDigests = 1 << 5,
    Languages = 1 << 6,
    Inputs = 1 << 7,
    Territory = 1 << 8,
    AgeBand = 1 << 9,
    Experiment = 1 << 10,
    IdempotencyKey = 1 << 11,
}

/// <summary>
/// <see cref="RecordTerms"/> worked out for the writer of records: sets as bits, so that no request compares names. Immutable.
/// </summary>
internal sealed class RecordPlan
{
    private readonly double _capture;

    public RecordPlan(RecordTerms terms, ImmutableArray<string> attributes, ImmutableArray<string> textFeatures, ImmutableArray<string> tensorFeatures)
    {
        _capture = terms.InputCapture;
        (Hashed, _) = Read(terms.Hash, attributes);
        (Masked, MaskedAttributes) = Read(terms.Mask, attributes);
        (Sealed, SealedAttributes) = Read(terms.Seal, attributes);
        HashedPaths = Utf8(terms.Hash);
        MaskedPaths = Utf8(terms.Mask);
        SealedPaths = Utf8(terms.Seal.Remove("inputs"));
        TextFeatures = Utf8(textFeatures);
        TensorFeatures = Utf8(tensorFeatures);
    }

    public RecordParts Hashed { get; }

    public RecordParts Masked { get; }

    public RecordParts Sealed { get; }

    /// <summary>Bit i is the terms' attribute i.</summary>
    public ulong MaskedAttributes { get; }

    public ulong SealedAttributes { get; }

    public ImmutableArray<byte[]> HashedPaths { get; }

    public ImmutableArray<byte[]> MaskedPaths { get; }

    /// <summary>Without "inputs", which a record names only when it has them.</summary>
    public ImmutableArray<byte[]> SealedPaths { get; }

    /// <summary>What the surface's bundles read, by name: what a capture keeps.</summary>
    public ImmutableArray<byte[]> TextFeatures { get; }

    public ImmutableArray<byte[]> TensorFeatures { get; }

    public bool Captures => _capture > 0;

    public bool Seals => (Sealed != RecordParts.None) | (SealedAttributes != 0);

    /// <summary>Whether a request whose inputs hash to this number is one of those captured: the same inputs always are or never.</summary>
    public bool IsSampled(ulong inputHash) => _capture >= 1 || inputHash < _capture * (ulong.MaxValue + 1.0);

    private static (RecordParts Parts, ulong Attributes) Read(ImmutableArray<string> paths, ImmutableArray<string> attributes)
    {
        var parts = RecordParts.None;
        var bits = 0UL;
        foreach (var path in paths)
        {
            var known = RecordPaths.All.IndexOf(path);
            var attribute = path.StartsWith(RecordPaths.AttributePrefix, StringComparison.Ordinal)
                ? attributes.IndexOf(path[RecordPaths.AttributePrefix.Length..])
                : -1;
            parts |= known < 0 ? RecordParts.None : (RecordParts)(1 << known);
            bits |= attribute < 0 ? 0 : 1UL << attribute;
        }

        return (parts, bits);
    }

    private static ImmutableArray<byte[]> Utf8(ImmutableArray<string> texts) => [.. texts.Select(Encoding.UTF8.GetBytes)];
}
