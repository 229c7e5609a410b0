using System.Diagnostics.CodeAnalysis;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger.Verify;

/// <summary>What a checkpoint must fulfil on its own: note, fields and frontier say the same tree.</summary>
internal static class CheckpointCheck
{
    /// <summary>False when the record contradicts itself.</summary>
    public static bool TryRead(Guid stream, Checkpoint checkpoint, [NotNullWhen(true)] out CompactRange? frontier, [NotNullWhen(true)] out SignedNote? note)
    {
        frontier = null;
        if (!SignedNote.TryParse(checkpoint.Note, out note)
            || checkpoint.RootHash.Length != TreeHash.Length || !CheckpointText.TryParse(note.Text, out var text))
        {
            return false;
        }

        var root = TreeHash.Read(checkpoint.RootHash.Span);
        var agrees = text.StreamId == stream && text.Epoch == checkpoint.Epoch && text.TreeSize == checkpoint.TreeSize && text.Root == root
            && text.EndDecisions is null && checkpoint.TreeSize < checkpoint.Sequence && checkpoint.PreviousSize <= checkpoint.TreeSize;
        frontier = agrees ? CompactRange.TryRead(0, checkpoint.TreeSize, checkpoint.Frontier.Span) : null;
        return frontier is not null && frontier.Root() == root;
    }
}
