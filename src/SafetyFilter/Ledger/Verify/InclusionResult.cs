using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Ledger.Verify;

/// <summary>That one record is in the tree that a checkpoint's note signs (RFC 6962, section 2.1.1).</summary>
/// <param name="Path">From the leaf upwards.</param>
/// <param name="Note">The checkpoint, signed by the key of an epoch that a trusted identity certified.</param>
internal sealed record InclusionResult(ulong Sequence, TreeHash Leaf, ulong TreeSize, IReadOnlyList<TreeHash> Path, TreeHash Root, string Note)
{
    public bool IsProven => InclusionProof.Verify(Sequence - 1, TreeSize, Leaf, Path, Root);
}
