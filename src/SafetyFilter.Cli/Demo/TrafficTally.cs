using HdrHistogram;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;

namespace SafetyFilter.Cli.Demo;

/// <summary>What the ordinary traffic came to: times, actions per surface, and what became of the harmful candidates. Not thread-safe.</summary>
internal sealed class TrafficTally
{
    private const int MostExamples = 9;

    private readonly HashSet<(string Surface, FilterAction Action)> _shown = [];
    private readonly List<(Answer Answer, int Row)> _examples = [];

    /// <summary>Microseconds, as the answers say.</summary>
    public LongHistogram Engine { get; } = new(1, 60_000_000, 3);

    /// <summary>Microseconds, as the caller waits.</summary>
    public LongHistogram RoundTrip { get; } = new(1, 60_000_000, 3);

    public SortedDictionary<string, SurfaceCounts> Surfaces { get; } = new(StringComparer.Ordinal);

    public SortedDictionary<(string Surface, string Family), HarmCounts> Harm { get; } = [];

    /// <summary>Decisions worth showing, the gravest first.</summary>
    public IEnumerable<(Answer Answer, int Row)> Examples =>
        _examples.OrderByDescending(example => example.Answer.Result![example.Row].Action)
            .ThenBy(example => example.Answer.Surface, StringComparer.Ordinal)
            .Take(MostExamples);

    public int Answered { get; private set; }

    public List<string> Failures { get; } = [];

    public void Add(Answer answer, bool timed)
    {
        if (answer.Result is not { } result)
        {
            Failures.Add($"{answer.RequestId}: {answer.Error!.Status}");
            return;
        }

        Answered++;
        if (result.Count != answer.Items.Length)
        {
            Failures.Add($"{answer.RequestId}: {result.Count} verdicts for {answer.Items.Length} candidates");
            return;
        }

        if (timed)
        {
            Engine.RecordValue(Math.Max(1, (long)result.EngineTime.TotalMicroseconds));
            RoundTrip.RecordValue(Math.Max(1, (long)answer.RoundTrip.TotalMicroseconds));
        }

        var surface = Of(Surfaces, answer.Surface);
        surface.Requests++;
        foreach (var verdict in result)
        {
            surface.Add(verdict);
            Of(Harm, (answer.Surface, answer.Items[verdict.Row].Family ?? HarmCounts.Ordinary)).Add(verdict);
            Exhibit(answer, verdict);
        }
    }

    public void Check(Checks checks, int requests)
    {
        checks.Require(
            Answered == requests && Failures.Count == 0,
            $"all {requests} requests were answered, one verdict per candidate",
            string.Join("; ", Failures.Take(3)));
        var ordinary = Sum(counts => counts.Family == HarmCounts.Ordinary);
        var harmful = Sum(counts => counts.Family != HarmCounts.Ordinary);
        checks.Require(
            harmful.Share >= 2 * ordinary.Share && harmful.Restricted > 0,
            "harmful candidates were restricted at least twice as often as ordinary ones",
            $"{harmful.Share:P1} against {ordinary.Share:P1}");
    }

    private HarmCounts Sum(Func<(string Surface, string Family), bool> which)
    {
        var sum = new HarmCounts();
        foreach (var (_, counts) in Harm.Where(pair => which(pair.Key)))
        {
            sum.Placed += counts.Placed;
            sum.Restricted += counts.Restricted;
        }

        return sum;
    }

    /// <summary>One decision of each action on each surface: what was placed and restricted, or what was ordinary and allowed.</summary>
    private void Exhibit(Answer answer, Verdict verdict)
    {
        var telling = (verdict.Action == FilterAction.Allow) == (answer.Items[verdict.Row].Family is null);
        if (telling
            && verdict.Basis == VerdictBasis.Evaluated
            && answer.Result!.Message.Scores.Count > 0
            && _shown.Add((answer.Surface, verdict.Action)))
        {
            _examples.Add((answer, verdict.Row));
        }
    }

    private static TValue Of<TKey, TValue>(SortedDictionary<TKey, TValue> table, TKey key)
        where TKey : notnull
        where TValue : new()
    {
        if (!table.TryGetValue(key, out var value))
        {
            table.Add(key, value = new TValue());
        }

        return value;
    }
}

internal sealed class SurfaceCounts
{
    private readonly int[] _actions = new int[(int)FilterAction.Block + 1];

    public int Requests { get; set; }

    public int Candidates { get; private set; }

    /// <summary>Verdicts that rest on a fail mode.</summary>
    public int Degraded { get; private set; }

    public int this[FilterAction action] => _actions[(int)action];

    public void Add(Verdict verdict)
    {
        Candidates++;
        _actions[(int)verdict.Action]++;
        Degraded += verdict.Basis == VerdictBasis.Evaluated ? 0 : 1;
    }
}

internal sealed class HarmCounts
{
    public const string Ordinary = "(ordinary)";

    public int Placed { get; set; }

    /// <summary>Anything but allowed.</summary>
    public int Restricted { get; set; }

    public double Share => Placed == 0 ? 0 : (double)Restricted / Placed;

    public void Add(Verdict verdict)
    {
        Placed++;
        Restricted += verdict.Action == FilterAction.Allow ? 0 : 1;
    }
}
