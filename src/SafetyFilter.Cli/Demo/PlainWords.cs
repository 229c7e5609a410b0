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

    /// <summary>The reason and the rule, and the risks that were seen: the answer does not say which of them the rule read.</summary>
    public static string Reason(FilterResult result, Verdict verdict)
    {
        var rule = verdict.ReasonCode.Length == 0
            ? "no rule matched"
            : $"{verdict.ReasonCode}, {verdict.Severity.ToString().ToLowerInvariant()} (rule {verdict.RuleId})";
        var basis = verdict.Basis switch
        {
            VerdictBasis.FailedOpen => "; not evaluated, failed open",
            VerdictBasis.FailedClosed => "; not evaluated, failed closed",
            VerdictBasis.LastKnown => "; by a remembered score",
            _ => "",
        };
        return rule + basis + Risks(result, verdict);
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

    /// <summary>The two highest scores, each label once: on some surfaces two bundles score the same.</summary>
    private static string Risks(FilterResult result, Verdict verdict)
    {
        var highest = Enumerable.Range(0, result.ClassifierCount)
            .Select(index => (Label: result.Classifier(index).Name.Split('/')[^1], Score: verdict.Score(index)))
            .Where(risk => !float.IsNaN(risk.Score))
            .OrderByDescending(risk => risk.Score)
            .DistinctBy(risk => risk.Label)
            .Take(2)
            .Select(risk => string.Create(CultureInfo.InvariantCulture, $"{risk.Label} {risk.Score:0.00}"));
        var risks = string.Join(", ", highest);
        return risks.Length == 0 ? "" : $"; risk of {risks}";
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
