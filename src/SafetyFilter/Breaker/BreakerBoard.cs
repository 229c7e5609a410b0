using System.Collections.Frozen;
using System.Collections.Immutable;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Breaker;

/// <summary>A surface calls for a bundle, under the breaker that its group shares.</summary>
internal sealed record BreakerUse(ModelBundle Bundle, string Group, string Surface);

/// <summary>The breakers of a serving process: one for each bundle (by name and digests) and group of surfaces. Thread-safe.</summary>
/// <remarks>
/// A reload prepares a set and commits it together with the snapshot that is bound to it. Preparing changes nothing. Where bundle, thresholds
/// and chaos are as before, the set has the very same guarded bundle; where only those differ, a new one behind the same gate.
/// </remarks>
internal sealed class BreakerBoard(BreakerEvents events, TimeProvider time)
{
    private BreakerSet _current = BreakerSet.Empty;

    /// <summary>The set that policies and settings ask for. A bundle loaded again with the same digests is not used: its predecessor stays.</summary>
    /// <param name="options">Not to be changed afterwards, nor <paramref name="chaos"/>.</param>
    public BreakerSet Prepare(IEnumerable<BreakerUse> uses, BreakerOptions options, ChaosOptions chaos)
    {
        var current = Volatile.Read(ref _current);
        return new BreakerSet(current, uses
            .GroupBy(static use => (use.Bundle.Name, use.Group))
            .ToFrozenDictionary(
                static same => same.Key,
                same => new BreakerEntry(
                    Guard(current.Find(same.Key), same.First().Bundle, same.Key.Group, options, chaos),
                    [.. same.Select(static use => use.Surface).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)])));
    }

    /// <summary>Puts a prepared set into force: operations see and reach its breakers from here on.</summary>
    /// <exception cref="InvalidOperationException">Another set was committed since this one was prepared.</exception>
    public void Commit(BreakerSet next)
    {
        var before = next.Before;
        if (before is null || Interlocked.CompareExchange(ref _current, next, before) != before)
        {
            throw new InvalidOperationException("Another set of breakers was committed since this one was prepared. Prepare and commit one reload at a time.");
        }

        next.Before = null;
        foreach (var entry in before.Entries)
        {
            var gate = entry.Guarded.Gate;
            var successor = next.Find((gate.Bundle, gate.Group))?.Guarded.Gate;
            if (successor != gate)
            {
                gate.Retire(successor);
            }
        }
    }

    /// <summary>Every breaker as it is now, by bundle and group.</summary>
    public ImmutableArray<BreakerReading> Read() =>
        [.. Volatile.Read(ref _current).Entries.Select(static entry => BreakerReading.Of(entry))];

    /// <summary>Turns the calls of a group's surfaces to a bundle away until <see cref="TryClose"/>; false when there is no such breaker.</summary>
    /// <param name="actor">Who does it, for the ledger.</param>
    public bool TryIsolate(string bundle, string group, string actor) => TryAct((bundle, group), gate => gate.Isolate(actor));

    /// <summary>Closes a breaker, isolated or open; its windows begin anew. False when there is no such breaker.</summary>
    /// <param name="actor">Who does it, for the ledger.</param>
    public bool TryClose(string bundle, string group, string actor) => TryAct((bundle, group), gate => gate.Close(actor));

    // Again, when a commit has put another gate in its place meanwhile. One that comes later sees what was done: it retires gates last.
    private bool TryAct((string Bundle, string Group) key, Action<BreakerGate> act)
    {
        var gate = Find();
        for (BreakerGate? done = null; gate is not null && gate != done; gate = Find())
        {
            act(gate);
            done = gate;
        }

        return gate is not null;

        BreakerGate? Find() => Volatile.Read(ref _current).Find(key)?.Guarded.Gate;
    }

    private GuardedBundle Guard(BreakerEntry? before, ModelBundle bundle, string group, BreakerOptions options, ChaosOptions chaos)
    {
        var (thresholds, faults) = (options.For(bundle.Name), chaos.For(bundle.Name));
        if (before?.Guarded is not { } old || !IsSame(old.Bundle, bundle))
        {
            return new GuardedBundle(bundle, new BreakerGate(bundle.Name, group, events, time), thresholds, faults, time);
        }

        return thresholds.IsSame(old.Thresholds) && BundleChaos.IsSame(faults, old.Chaos)
            ? old
            : new GuardedBundle(old.Bundle, old.Gate, thresholds, faults, time);
    }

    private static bool IsSame(ModelBundle one, ModelBundle other) =>
        one.ModelSha256.Span.SequenceEqual(other.ModelSha256.Span) && one.ManifestSha256.Span.SequenceEqual(other.ManifestSha256.Span);
}

/// <summary>A guarded bundle and the surfaces that call it, in order.</summary>
internal sealed record BreakerEntry(GuardedBundle Guarded, ImmutableArray<string> Surfaces);

/// <summary>The guarded bundles of one serving snapshot. Immutable.</summary>
internal sealed class BreakerSet(BreakerSet? before, FrozenDictionary<(string Bundle, string Group), BreakerEntry> entries)
{
    public static BreakerSet Empty { get; } = new(null, FrozenDictionary<(string Bundle, string Group), BreakerEntry>.Empty);

    /// <summary>By bundle and group.</summary>
    public ImmutableArray<BreakerEntry> Entries { get; } =
    [
        .. entries
            .OrderBy(static pair => pair.Key.Bundle, StringComparer.Ordinal)
            .ThenBy(static pair => pair.Key.Group, StringComparer.Ordinal)
            .Select(static pair => pair.Value),
    ];

    /// <summary>The set that it was prepared to follow; null once committed, or sets would hold each other for ever.</summary>
    internal BreakerSet? Before { get; set; } = before;

    public GuardedBundle Guarded(string bundle, string group) => entries[(bundle, group)].Guarded;

    public BreakerEntry? Find((string Bundle, string Group) key) => entries.GetValueOrDefault(key);
}

/// <summary>A breaker at one moment.</summary>
/// <param name="BreakLeft">How long it stays open, when it is open.</param>
/// <param name="Surfaces">Those of the group that use the bundle, in order.</param>
/// <param name="Calls">Runs of the model that counted, since the bundle was first served. <paramref name="Failures"/> and <paramref name="SlowCalls"/> are of them.</param>
/// <param name="TurnedAway">Calls that did not run because it was not closed.</param>
/// <param name="Trials">Trials in a row that went well, when it is half-open.</param>
internal sealed record BreakerReading(
    string Bundle,
    string Group,
    BreakerState State,
    TimeSpan BreakLeft,
    ImmutableArray<string> Surfaces,
    long Calls,
    long Failures,
    long SlowCalls,
    long TurnedAway,
    int Trials,
    int TrialsNeeded)
{
    internal static BreakerReading Of(BreakerEntry entry)
    {
        var gate = entry.Guarded.Gate;
        return new BreakerReading(
            gate.Bundle,
            gate.Group,
            gate.State,
            gate.BreakLeft,
            entry.Surfaces,
            gate.Calls,
            gate.Failures,
            gate.SlowCalls,
            gate.TurnedAway,
            gate.GoodTrials,
            entry.Guarded.Thresholds.TrialCalls);
    }
}
