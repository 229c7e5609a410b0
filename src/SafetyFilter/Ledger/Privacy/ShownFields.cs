using SafetyFilter.Decisions;

namespace SafetyFilter.Ledger.Privacy;

/// <summary>Which parts a writer writes, and which of them as hashes.</summary>
internal readonly struct ShownFields(RecordParts parts, ulong attributes, RecordParts hashed, HashKey? key)
{
    /// <summary>What a record shows in the open. Without a key, what should be hashed is not shown.</summary>
    public static ShownFields Of(RecordPlan plan, HashKey? key) => new(
        ~(plan.Masked | plan.Sealed | (key is null ? plan.Hashed : RecordParts.None)),
        ~(plan.MaskedAttributes | plan.SealedAttributes),
        plan.Hashed,
        key);

    public bool Has(RecordParts part) => (parts & part) != RecordParts.None;

    public bool HasAttribute(int index) => (attributes >> index & 1) != 0;

    /// <summary>The key if the part is shown as a hash.</summary>
    public HashKey? KeyFor(RecordParts part) => (hashed & part) != RecordParts.None ? key : null;
}
