using SafetyFilter.Audit;
using SafetyFilter.Filtering;
using SafetyFilter.Policy;

namespace SafetyFilter.Sidecar.Reload;

/// <summary>What new policies would have done to recent decisions of the policies that they replace.</summary>
/// <param name="Stricter">Candidates; as are the next two.</param>
/// <param name="NotRecomputable">Decisions whose records lack what the new policies read, or whose surface they do not serve.</param>
internal sealed record ChangeEffect(long Decisions, long Candidates, long Stricter, long Laxer, long Relabelled, long NotRecomputable)
{
    /// <summary>Of the candidates decided again; 0 when there are none, and then nothing is known.</summary>
    public double ChangedShare => Candidates == 0 ? 0 : (double)(Stricter + Laxer + Relabelled) / Candidates;

    /// <summary>Null when no policy differs.</summary>
    public static ChangeEffect? Of(PolicySnapshot before, PolicySnapshot after, RecentDecisions recent, DateTimeOffset now)
    {
        if (before.Revision == after.Revision)
        {
            return null;
        }

        var replaced = Without(before, after);
        var recorded = new PolicyArchive();
        foreach (var policy in replaced)
        {
            recorded.Add(new PolicySource(policy.Name, policy.Canonical));
        }

        var proposed = Without(after, before)
            .SelectMany(static policy => ArchivedPolicy.Read(new PolicySource(policy.Name, policy.Canonical)).Policies)
            .ToList();
        var work = new WhatIfWork(
            new WhatIfQuestion(proposed, recorded, Surface: null, now.ToUnixTimeMilliseconds(), now.ToUnixTimeMilliseconds(), Examples: 0), open: null);
        foreach (var record in recent.Of([.. replaced.Select(static policy => policy.Revision)]))
        {
            work.Take(record);
        }

        var report = work.Report;
        return new ChangeEffect(
            report.Decisions,
            report.Candidates,
            CountOf(report, ChangeDirection.Stricter),
            CountOf(report, ChangeDirection.Laxer),
            CountOf(report, ChangeDirection.Relabelled),
            report.NotRecomputable.Values.Sum() + report.Elsewhere);
    }

    private static List<PolicyDefinition> Without(PolicySnapshot these, PolicySnapshot those)
    {
        var known = those.Policies.Select(static policy => policy.Revision).ToHashSet(StringComparer.Ordinal);
        return [.. these.Policies.Where(policy => !known.Contains(policy.Revision))];
    }

    private static long CountOf(WhatIfReport report, ChangeDirection direction) =>
        report.Changes.Where(change => change.Key.Direction == direction).Sum(static change => change.Value.Count);
}
