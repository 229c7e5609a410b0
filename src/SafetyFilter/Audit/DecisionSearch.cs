using System.Text;

namespace SafetyFilter.Audit;

/// <summary>What somebody looks for. Every part that is named must hold.</summary>
/// <param name="requests">The request's id, and what hashes show it as; null for any.</param>
/// <param name="candidates">The same for a candidate.</param>
internal sealed class DecisionSearch(IReadOnlyList<byte[]>? requests, IReadOnlyList<byte[]>? candidates, ulong? sequence)
{
    public bool Finds(RecordedDecision record)
    {
        if ((sequence is { } wanted && record.Sequence != wanted) || (requests is not null && !Is(requests, record[record.Batch.RequestId])))
        {
            return false;
        }

        for (var candidate = 0; candidate < record.Count; candidate++)
        {
            if (Wants(record, candidate))
            {
                return true;
            }
        }

        return candidates is null;
    }

    /// <summary>Whether this candidate is to be told.</summary>
    public bool Wants(RecordedDecision record, int candidate) => candidates is null || Is(candidates, record[record.Batch.Ids[candidate]]);

    public override string ToString() => string.Join(" and ", ((string?[])[
        requests is null ? null : $"request '{Encoding.UTF8.GetString(requests[0])}'",
        candidates is null ? null : $"candidate '{Encoding.UTF8.GetString(candidates[0])}'",
        sequence is null ? null : $"sequence {sequence}"]).OfType<string>());

    private static bool Is(IReadOnlyList<byte[]> names, ReadOnlySpan<byte> name)
    {
        foreach (var one in names)
        {
            if (name.SequenceEqual(one))
            {
                return true;
            }
        }

        return false;
    }
}
