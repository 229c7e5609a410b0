using SafetyFilter.Audit;
using SafetyFilter.Decisions;

namespace SafetyFilter.Cli.Audit.Export;

/// <summary>Writes the rows of an export: one per candidate of a decision.</summary>
internal interface IRowWriter : IAsyncDisposable
{
    /// <summary>Takes all candidates of a decision.</summary>
    ValueTask WriteAsync(RecordedDecision record, bool withdrawn);
}

/// <summary>What rows call things.</summary>
internal static class RowWords
{
    public static string Name(CandidateAction action) => action switch
    {
        CandidateAction.Allow => "allow",
        CandidateAction.Label => "label",
        CandidateAction.AgeRestrict => "age-restrict",
        CandidateAction.Demote => "demote",
        CandidateAction.Block => "block",
        _ => "",
    };

    public static string Name(Basis basis) => basis switch
    {
        Basis.Evaluated => "evaluated",
        Basis.FailedOpen => "failed-open",
        Basis.FailedClosed => "failed-closed",
        Basis.LastKnown => "last-known",
        _ => "",
    };

    /// <summary>Empty for a rule without one, such as the default.</summary>
    public static string Name(Severity severity) => severity switch
    {
        Severity.Low => "low",
        Severity.Medium => "medium",
        Severity.High => "high",
        Severity.Critical => "critical",
        _ => "",
    };

    public static DateTime Time(RecordedDecision record) => record.Time.UtcDateTime;
}
