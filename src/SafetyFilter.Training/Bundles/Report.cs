using System.Text.Json.Nodes;
using SafetyFilter.Training.Data;
using SafetyFilter.Training.Learning;

namespace SafetyFilter.Training.Bundles;

/// <summary>What a threshold may cost before it is shipped, measured on everything but the dev split.</summary>
/// <param name="Action">The action that the threshold is for.</param>
/// <param name="From">The lowest threshold considered.</param>
/// <param name="Precision">Least precision on the calibration fold's own labels.</param>
/// <param name="Candidates">Most flagged share of candidate titles.</param>
/// <param name="Benign">Most flagged share of benign text that mentions people and identities.</param>
/// <param name="Group">Most flagged share of any one group of that text.</param>
internal sealed record ThresholdRule(string Action, double From, double Precision, double Candidates, double Benign, double Group);

/// <summary>One head's scores over the corpus: picks its thresholds without the dev split, then measures them on it.</summary>
internal sealed class Report(IReadOnlyList<Sample> samples, float[] scores, int head, IReadOnlyList<Sample> templates, float[] templateScores)
{
    /// <summary>Groups with fewer rows give no rate worth naming.</summary>
    private const int SmallestGroup = 20;

    private readonly string _file = Corpus.Files.First(file => file.Head == head).File;

    public SortedDictionary<string, double> ChooseThresholds(IReadOnlyList<ThresholdRule> rules)
    {
        var chosen = new SortedDictionary<string, double>(StringComparer.Ordinal);
        foreach (var rule in rules)
        {
            chosen[rule.Action] = Grid().First(threshold => threshold >= 0.999 || (threshold >= rule.From && Allows(rule, threshold)));
        }

        return chosen;
    }

    public JsonObject Measure(IReadOnlyDictionary<string, double> thresholds)
    {
        var dev = Rows(s => s.File == _file && s.Labelled[head] && s.Fold == Fold.Dev);
        var bySource = new JsonObject();
        foreach (var source in dev.GroupBy(i => samples[i].Source))
        {
            int[] rows = [.. source];
            if (rows.Count(i => samples[i].Positive(head)) >= 10 && rows.Count(i => !samples[i].Positive(head)) >= 10)
            {
                bySource[source.Key] = Round(Auc(rows));
            }
        }

        var at = new JsonObject();
        foreach (var (action, threshold) in thresholds)
        {
            at[action] = Measure(dev, threshold);
        }

        return new JsonObject
        {
            ["devAuc"] = Round(Auc(dev)),
            ["devRows"] = dev.Length,
            ["devPositives"] = dev.Count(i => samples[i].Positive(head)),
            ["devAucBySource"] = bySource,
            ["atThresholds"] = at,
            ["biasTemplates"] = BiasTemplates(),
        };
    }

    private JsonObject Measure(int[] dev, double threshold)
    {
        int hits = dev.Count(i => scores[i] >= threshold && samples[i].Positive(head)), flagged = dev.Count(i => scores[i] >= threshold);
        var result = new JsonObject
        {
            ["threshold"] = threshold,
            ["devPrecision"] = flagged == 0 ? null : Round((double)hits / flagged),
            ["devRecall"] = Round((double)hits / dev.Count(i => samples[i].Positive(head))),
            ["candidatesDevFlagged"] = Round(Flagged(Rows(s => s.File == "candidates" && s.Fold == Fold.Dev), threshold)),
            ["candidatesAllFlagged"] = Round(Flagged(Rows(s => s.File == "candidates"), threshold)),
            ["candidateVideosFlagged"] = Round(Flagged(Rows(s => s.File == "candidates" && s.Source == "youtube_trending_2018"), threshold)),
            ["benignDevFlagged"] = Round(Flagged(Rows(s => s.File == "benign" && s.Fold == Fold.Dev), threshold)),
            ["benignAllFlagged"] = Round(Flagged(Rows(s => s.File == "benign"), threshold)),
            ["benignWorstGroupDev"] = WorstGroup(Rows(s => s.File == "benign" && s.Fold == Fold.Dev), threshold),
            ["benignWorstGroupAll"] = WorstGroup(Rows(s => s.File == "benign"), threshold),
        };
        if (head == Corpus.Injection)
        {
            // Length and language must not decide: English texts of at least 300 characters from sources without any injection.
            var lengthy = Rows(s => s.Fold == Fold.Dev && s.Text.Length >= 300 && s.Source is not ("garak" or "bipia"));
            result["longTextsDevFlagged"] = Round(Flagged(lengthy, threshold));
            result["longTextsDevRows"] = lengthy.Length;
            result["devAucAgainstLongTexts"] = Round(AucAgainst(lengthy));
        }

        return result;
    }

    private double AucAgainst(int[] negatives)
    {
        var rows = Rows(s => s.Fold == Fold.Dev && s.Labelled[head] && s.Positive(head)).Concat(negatives).ToArray();
        return Metrics.Auc(rows.Select(i => scores[i]).ToArray(), rows.Select(i => samples[i].Labelled[head] && samples[i].Positive(head)).ToArray());
    }

    // Report only (synthetic templates): how far apart the identity groups' innocent sentences score.
    private JsonObject BiasTemplates()
    {
        var means = Enumerable.Range(0, templates.Count).Where(i => !templates[i].Positive(Corpus.Toxicity) && templates[i].Group.Length > 0)
            .GroupBy(i => templates[i].Group).Where(g => g.Count() >= SmallestGroup)
            .Select(g => (g.Key, Mean: g.Average(i => templateScores[i]))).OrderBy(g => g.Mean).ThenBy(g => g.Key, StringComparer.Ordinal).ToArray();
        return new JsonObject
        {
            ["groups"] = means.Length,
            ["lowest"] = new JsonObject { ["group"] = means[0].Key, ["meanScore"] = Round(means[0].Mean) },
            ["highest"] = new JsonObject { ["group"] = means[^1].Key, ["meanScore"] = Round(means[^1].Mean) },
        };
    }

    private bool Allows(ThresholdRule rule, double threshold)
    {
        var own = Rows(s => s.File == _file && s.Labelled[head] && s.Fold == Fold.Calibrate);
        int flagged = own.Count(i => scores[i] >= threshold);
        var benign = Rows(s => s.File == "benign" && s.Fold != Fold.Dev);
        return flagged > 0 && own.Count(i => scores[i] >= threshold && samples[i].Positive(head)) >= rule.Precision * flagged
            && Flagged(Rows(s => s.File == "candidates" && s.Fold != Fold.Dev), threshold) <= rule.Candidates
            && Flagged(Rows(s => s.File == "candidates" && s.Fold == Fold.Calibrate), threshold) <= rule.Candidates
            && Flagged(benign, threshold) <= rule.Benign
            && Flagged(Rows(s => s.File == "benign" && s.Fold == Fold.Calibrate), threshold) <= rule.Benign
            && WorstGroup(benign, threshold)["flagged"]!.GetValue<double>() <= rule.Group;
    }

    private static IEnumerable<double> Grid() => Enumerable.Range(30, 70).Select(percent => percent / 100.0).Concat([0.995, 0.999]);

    private JsonObject WorstGroup(int[] rows, double threshold)
    {
        var worst = rows.GroupBy(i => samples[i].Group).Where(g => g.Key.Length > 0 && g.Count() >= SmallestGroup)
            .Select(g => (g.Key, Rows: g.Count(), Flagged: Flagged([.. g], threshold)))
            .OrderByDescending(g => g.Flagged).ThenByDescending(g => g.Rows).ThenBy(g => g.Key, StringComparer.Ordinal).First();
        return new JsonObject { ["group"] = worst.Key, ["rows"] = worst.Rows, ["flagged"] = Round(worst.Flagged) };
    }

    private int[] Rows(Func<Sample, bool> which) => [.. Enumerable.Range(0, samples.Count).Where(i => which(samples[i]))];

    private double Flagged(int[] rows, double threshold) => rows.Length == 0 ? 0 : (double)rows.Count(i => scores[i] >= threshold) / rows.Length;

    private double Auc(int[] rows) => Metrics.Auc(rows.Select(i => scores[i]).ToArray(), rows.Select(i => samples[i].Positive(head)).ToArray());

    private static double Round(double value) => Math.Round(value, 4);
}
