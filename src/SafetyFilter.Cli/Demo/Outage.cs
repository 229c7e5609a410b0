using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;

namespace SafetyFilter.Cli.Demo;

/// <summary>
/// What rankers see while one bundle fails: every answer is held against the fail modes that it states itself, and the
/// breaker must be seen to open on every surface that reads the bundle.
/// </summary>
internal sealed class Outage(string bundle)
{
    // A breaker opens on a share of failures among a minimum of calls (20 by default) within its window.
    private const int FewestRounds = 20;
    private const int MostRounds = 200;

    private static readonly string[] Asked = ["kids", "for-you", "search"];

    private readonly List<string> _contradictions = [];

    public List<OutageSurface> Surfaces { get; } = [.. Asked.Select(name => new OutageSurface(SurfaceProfile.Named(name)!))];

    public async Task PlayAsync(SafetyFilterClient client, Ranker ranker, AnswerLog log, int firstNumber, CancellationToken cancellationToken)
    {
        var page = new Page();
        var number = firstNumber;
        for (var round = 0; round < MostRounds && (round < FewestRounds || !Surfaces.TrueForAll(surface => surface.BreakerOpenAt > 0)); round++)
        {
            foreach (var surface in Surfaces)
            {
                ranker.Compose(page, number++, surface.Profile);
                Observe(surface, await TrafficPlayer.AskAsync(client, page, log, cancellationToken));
            }
        }
    }

    public void Check(Checks checks)
    {
        checks.Require(
            _contradictions.Count == 0,
            "every verdict given without a score follows the fail mode that the answer states for that classifier",
            string.Join("; ", _contradictions.Take(3)));
        foreach (var surface in Surfaces)
        {
            checks.Require(
                surface.ErrorsBeforeBreaker && surface.BreakerOpenAt > 0,
                $"{surface.Profile.Name} saw {bundle} fail, then its breaker open",
                surface.Kinds.Count == 0 ? "no failure was marked" : $"it saw {PlainWords.Failures(surface.Kinds)}");
        }

        Closed("kids");
        Closed("for-you");
        var search = Surfaces.Find(surface => surface.Profile.Name == "search")!;
        checks.Require(
            search is { FailedOpen: > 0, FailedClosed: 0 },
            "search failed open: shown, and marked as not evaluated",
            $"{search.FailedOpen} open, {search.FailedClosed} closed of {search.Candidates}");

        void Closed(string name)
        {
            var surface = Surfaces.Find(each => each.Profile.Name == name)!;
            checks.Require(
                surface.Candidates > 0 && surface.FailedClosed == surface.Candidates && surface.Shown == 0,
                $"{name} failed closed: nothing was shown unrestricted",
                $"{surface.FailedClosed} of {surface.Candidates} verdicts failed closed and {surface.Shown} were allowed");
        }
    }

    private void Observe(OutageSurface seen, Answer answer)
    {
        seen.Requests++;
        if (answer.Result is not { } result)
        {
            _contradictions.Add($"{answer.RequestId}: {answer.Error!.Status}");
            return;
        }

        for (var i = 0; i < result.DegradationCount; i++)
        {
            var mark = result.Degradation(i);
            if (mark.Classifier.StartsWith(bundle + "/", StringComparison.Ordinal))
            {
                seen.Saw(mark.Failure);
            }
        }

        foreach (var verdict in result)
        {
            seen.Add(verdict);
            var expected = Expected(result, verdict.Row);
            if (verdict.Basis != expected)
            {
                _contradictions.Add($"{answer.RequestId} rank {verdict.Row}: {verdict.Basis}, but its marks say {expected}");
            }
        }
    }

    private static VerdictBasis Expected(FilterResult result, int row)
    {
        var expected = VerdictBasis.Evaluated;
        for (var i = 0; i < result.DegradationCount; i++)
        {
            var mark = result.Degradation(i);
            if (!mark.Concerns(row))
            {
                continue;
            }

            if (mark.FailMode == FailMode.Closed)
            {
                return VerdictBasis.FailedClosed;
            }

            expected = mark.FailMode == FailMode.Open || expected == VerdictBasis.FailedOpen ? VerdictBasis.FailedOpen : VerdictBasis.LastKnown;
        }

        return expected;
    }
}

/// <summary>What one surface saw during the outage.</summary>
internal sealed class OutageSurface(SurfaceProfile profile)
{
    public SurfaceProfile Profile => profile;

    public int Requests { get; set; }

    public int Candidates { get; private set; }

    public int FailedClosed { get; private set; }

    public int FailedOpen { get; private set; }

    /// <summary>Candidates that were allowed without restriction.</summary>
    public int Shown { get; private set; }

    public int Blocked { get; private set; }

    /// <summary>Why the bundle gave no scores, each reason once, in the order in which they appeared.</summary>
    public List<FailureKind> Kinds { get; } = [];

    public bool ErrorsBeforeBreaker => Kinds.IndexOf(FailureKind.Error) is >= 0 and var error && error < Kinds.IndexOf(FailureKind.BreakerOpen);

    /// <summary>The request (counted from 1) that first found the breaker open; 0 for none.</summary>
    public int BreakerOpenAt { get; private set; }

    public void Saw(FailureKind failure)
    {
        if (!Kinds.Contains(failure))
        {
            Kinds.Add(failure);
        }

        if (failure == FailureKind.BreakerOpen && BreakerOpenAt == 0)
        {
            BreakerOpenAt = Requests;
        }
    }

    public void Add(Verdict verdict)
    {
        Candidates++;
        FailedClosed += verdict.Basis == VerdictBasis.FailedClosed ? 1 : 0;
        FailedOpen += verdict.Basis == VerdictBasis.FailedOpen ? 1 : 0;
        Shown += verdict.Action == FilterAction.Allow ? 1 : 0;
        Blocked += verdict.Action == FilterAction.Block ? 1 : 0;
    }
}
