using SafetyFilter.Decisions;

namespace SafetyFilter.Audit;

internal enum ChangeDirection
{
    /// <summary>Less would be shown: a stronger action, a smaller factor, a higher age.</summary>
    Stricter,

    Laxer,

    /// <summary>Another label.</summary>
    Relabelled,

    /// <summary>The same would happen, for another reason.</summary>
    RuleOnly,
}

/// <summary>Candidates that fare the same way under the two policies.</summary>
internal readonly record struct WhatIfChange(
    string Surface, string OldRule, string NewRule, CandidateAction OldAction, CandidateAction NewAction, ChangeDirection Direction);

/// <param name="Scores">Of the classifiers that the old or the new rule compares.</param>
internal sealed record WhatIfExample(
    Guid Stream, ulong Sequence, string RequestId, string CandidateId, IReadOnlyList<(string Classifier, float Score)> Scores,
    string OldCondition, string NewCondition);

internal sealed class WhatIfGroup
{
    public long Count { get; set; }

    public List<WhatIfExample> Examples { get; } = [];
}

/// <summary>How many candidates were treated how on one surface, before and after. Indexes are actions.</summary>
internal sealed class WhatIfSurface
{
    public long Decisions { get; set; }

    public long[] Before { get; } = new long[(int)CandidateAction.Block + 1];

    public long[] After { get; } = new long[(int)CandidateAction.Block + 1];
}

/// <summary>What another policy would have done. Adds up over blocks of records.</summary>
/// <param name="examples">How many are kept of each change.</param>
internal sealed class WhatIfReport(int examples)
{
    private readonly Dictionary<WhatIfChange, WhatIfGroup> _changes = [];
    private readonly SortedDictionary<string, WhatIfSurface> _surfaces = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, long> _misses = new(StringComparer.Ordinal);

    /// <summary>Recomputed decisions.</summary>
    public long Decisions { get; set; }

    public long Candidates { get; set; }

    /// <summary>Decisions of surfaces that were not asked for.</summary>
    public long Elsewhere { get; set; }

    /// <summary>Candidates that the recorded policy itself would treat otherwise now, because rules of it have expired since.</summary>
    public long ChangedByExpiry { get; set; }

    public IReadOnlyDictionary<WhatIfChange, WhatIfGroup> Changes => _changes;

    public IReadOnlyDictionary<string, WhatIfSurface> Surfaces => _surfaces;

    /// <summary>Decisions that could not be recomputed, by reason.</summary>
    public IReadOnlyDictionary<string, long> NotRecomputable => _misses;

    /// <summary>Candidates for which something would be done otherwise.</summary>
    public long Changed => _changes.Where(static change => change.Key.Direction != ChangeDirection.RuleOnly).Sum(static change => change.Value.Count);

    public WhatIfSurface Surface(string name)
    {
        if (!_surfaces.TryGetValue(name, out var surface))
        {
            _surfaces.Add(name, surface = new WhatIfSurface());
        }

        return surface;
    }

    public void Miss(string reason) => _misses[reason] = _misses.GetValueOrDefault(reason) + 1;

    /// <summary>Counts a candidate. True when an example of its kind is still wanted.</summary>
    public bool Count(in WhatIfChange change, out WhatIfGroup group)
    {
        if (!_changes.TryGetValue(change, out group!))
        {
            _changes.Add(change, group = new WhatIfGroup());
        }

        group.Count++;
        return group.Examples.Count < examples;
    }

    /// <summary>Adds what another one found after this one, and empties it.</summary>
    public void Take(WhatIfReport later)
    {
        Decisions += later.Decisions;
        Candidates += later.Candidates;
        Elsewhere += later.Elsewhere;
        ChangedByExpiry += later.ChangedByExpiry;
        foreach (var (change, theirs) in later._changes)
        {
            if (!_changes.TryGetValue(change, out var group))
            {
                _changes.Add(change, group = new WhatIfGroup());
            }

            group.Count += theirs.Count;
            group.Examples.AddRange(theirs.Examples.Take(examples - group.Examples.Count));
        }

        foreach (var (name, theirs) in later._surfaces)
        {
            var surface = Surface(name);
            surface.Decisions += theirs.Decisions;
            for (var action = 0; action < surface.Before.Length; action++)
            {
                surface.Before[action] += theirs.Before[action];
                surface.After[action] += theirs.After[action];
            }
        }

        foreach (var (reason, count) in later._misses)
        {
            _misses[reason] = _misses.GetValueOrDefault(reason) + count;
        }

        later.Decisions = later.Candidates = later.Elsewhere = later.ChangedByExpiry = 0;
        later._changes.Clear();
        later._surfaces.Clear();
        later._misses.Clear();
    }
}
