using System.Collections.Immutable;

namespace SafetyFilter.Decisions;

/// <summary>What a surface's policy wants of its records: how sure they must be, and what they may say of whom. Immutable.</summary>
internal sealed record RecordTerms
{
    public static RecordTerms Default { get; } = new();

    /// <summary>What a record must have reached before its answer leaves.</summary>
    public Durability Durability { get; init; } = Durability.Process;

    /// <summary>Whether an answer whose record is late is refused; otherwise it leaves, marked as pending.</summary>
    public bool RefuseWhenLate { get; init; }

    /// <summary>Whether decisions are given without a record, and counted, when the ledger takes none; otherwise they are refused.</summary>
    public bool ServeWhenFull { get; init; }

    /// <summary>The share of requests whose inputs are recorded: 0 none (digests only), 1 all.</summary>
    public double InputCapture { get; init; }

    /// <summary>Paths of <see cref="RecordPaths"/> that are replaced by keyed hashes. In order.</summary>
    public ImmutableArray<string> Hash { get; init; } = [];

    /// <summary>Paths that are left out. In order.</summary>
    public ImmutableArray<string> Mask { get; init; } = [];

    /// <summary>Paths that are encrypted for the request's subject. In order.</summary>
    public ImmutableArray<string> Seal { get; init; } = [];
}

/// <summary>The parts of a record that a policy may hash, mask or seal. <c>attributes.NAME</c> stands for every attribute.</summary>
internal static class RecordPaths
{
    public const string AttributePrefix = "attributes.";

    /// <summary>What can be hashed: identifiers.</summary>
    public static ImmutableArray<string> Hashable { get; } = ["request_id", "caller", "candidate_ids", "content_versions", "idempotency_key"];

    /// <summary>What can be masked or sealed, besides attributes.</summary>
    public static ImmutableArray<string> All { get; } =
    [
        "request_id", "caller", "trace", "candidate_ids", "content_versions", "input_digests", "languages", "inputs",
        "viewer.territory", "viewer.age_band", "viewer.experiment", "idempotency_key",
    ];
}
