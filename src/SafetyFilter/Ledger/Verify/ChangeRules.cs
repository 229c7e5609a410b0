using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger.Verify;

/// <summary>What a Change record must say to make sense on its own.</summary>
internal static class ChangeRules
{
    /// <summary>Null when it does.</summary>
    public static string? Fault(Change change) => change switch
    {
        { Source: not ("file" or "rpc") } => $"is a Change from '{change.Source}', which nothing comes from",
        { Outcome: not (Change.Types.Outcome.Accepted or Change.Types.Outcome.Refused) } => $"is a Change with outcome {(int)change.Outcome}, which there is not",
        { Source: "file", Forced: true } => "is a Change that a file forced",
        { Outcome: Change.Types.Outcome.Refused, Errors.Count: 0 } => "is a refused Change without a reason",
        { Outcome: Change.Types.Outcome.Accepted, Errors.Count: > 0 } => "is an accepted Change with errors",
        { Outcome: Change.Types.Outcome.Accepted, Differences.Count: 0 } => "is an accepted Change of nothing",
        { Effect: { } effect } when effect.Stricter + effect.Laxer + effect.Relabelled > effect.Candidates => "is a Change that treats more candidates otherwise than it saw",
        _ => null,
    };
}
