using System.Globalization;
using System.Text;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;

namespace SafetyFilter.Cli.Demo;

/// <summary>Decisions as a person would say them.</summary>
internal static class PlainWords
{
    public static string Action(Verdict verdict) => verdict.Action switch
    {
        FilterAction.Allow => "allow",
        FilterAction.Label => $"label '{verdict.Label}'",
        FilterAction.AgeRestrict => $"{verdict.MinimumAge}+ only",
        FilterAction.Demote => $"demote x{verdict.DemoteFactor.ToString("0.##", CultureInfo.InvariantCulture)}",
        FilterAction.Block => "block",
        _ => verdict.Action.ToString(),
    };

    /// <summary>Names the rule and its reason, and the highest score, which usually is what it rests on.</summary>
    public static string Reason(FilterResult result, Verdict verdict)
    {
        var (name, score) = Highest(result, verdict);
        var seen = name is null ? "" : $"; highest risk {name} {score.ToString("0.00", CultureInfo.InvariantCulture)}";
        var basis = verdict.Basis switch
        {
            VerdictBasis.FailedOpen => "; not evaluated, failed open",
            VerdictBasis.FailedClosed => "; not evaluated, failed closed",
            _ => "",
        };
        return verdict.ReasonCode.Length == 0
            ? $"no rule matched{seen}{basis}"
            : $"rule {verdict.RuleId}: {verdict.ReasonCode}, {verdict.Severity.ToString().ToLowerInvariant()}{seen}{basis}";
    }

    public static string Failures(IEnumerable<FailureKind> kinds) => string.Join(", then ", kinds.Select(Failure));

    private static string Failure(FailureKind kind) => kind switch
    {
        FailureKind.None => "none",
        FailureKind.Error => "error",
        FailureKind.InvalidOutput => "invalid output",
        FailureKind.OverBudget => "over budget",
        FailureKind.BreakerOpen => "breaker open",
        FailureKind.Shed => "shed",
        FailureKind.MissingFeature => "missing feature",
        FailureKind.FeatureMismatch => "feature mismatch",
        _ => kind.ToString(),
    };

    public static string Title(CatalogueItem item, int length)
    {
        var title = item.ShownMasked ? Mask(item.Title) : item.Title;
        return title.Length <= length ? title : title[..Whole(title, length - 1)] + "…";
    }

    private static (string? Name, float Score) Highest(FilterResult result, Verdict verdict)
    {
        string? name = null;
        var highest = -1f;
        for (var i = 0; i < result.ClassifierCount; i++)
        {
            if (verdict.Score(i) > highest)
            {
                (name, highest) = (result.Classifier(i).Name, verdict.Score(i));
            }
        }

        return (name, highest);
    }

    /// <summary>Keeps the first letter of every word.</summary>
    private static string Mask(string text)
    {
        var masked = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            var insideWord = masked.Length > 0 && (char.IsLetterOrDigit(masked[^1]) || masked[^1] == '*');
            masked.Append(insideWord && Rune.IsLetterOrDigit(rune) ? "*" : rune.ToString());
        }

        return masked.ToString();
    }

    /// <summary>A length that cuts no surrogate pair in two.</summary>
    private static int Whole(string text, int length) => char.IsHighSurrogate(text[length - 1]) ? length - 1 : length;
}
