using SafetyFilter.Decisions;

namespace SafetyFilter.Scoring;

/// <summary>
/// Runs a bundle over the parts of a batch: on the caller's thread, and on those of the pool for as many cores as have nothing to do. One for the process; thread-safe.
/// </summary>
/// <remarks>
/// How a batch is cut depends on its size alone, and so do its scores; how many threads take the parts is a matter of the moment. Nothing is queued while all
/// cores have requests: a helper would only take turns with them, and its caller would wait for it.
/// </remarks>
internal sealed class RunSplitter : IDisposable
{
    private readonly SlotPool<PartedRun> _runs;
    private readonly Action<PartedRun> _queue;

    // Requests in the engine, and helpers from when they are queued.
    private int _working;

    /// <param name="cores">As many as the engine may keep busy.</param>
    /// <param name="queue">Where helpers wait for a thread; null: the thread pool.</param>
    public RunSplitter(int cores, Action<PartedRun>? queue = null)
    {
        Cores = cores;
        _runs = new SlotPool<PartedRun>(Math.Max(4, cores * 2), () => new PartedRun(this));
        _queue = queue ?? (static run => ThreadPool.UnsafeQueueUserWorkItem(run, preferLocal: false));
    }

    public int Cores { get; }

    /// <summary>Where a part begins among the candidates to score; that of <c>part + 1</c> is where it ends.</summary>
    public static int StartOf(int part, int parts, int candidates) => (int)((long)part * candidates / parts);

    /// <summary>In how many parts so many candidates are scored: 1, or parts of at most <paramref name="splitAbove"/>, but one per core at most.</summary>
    /// <param name="splitAbove">0: never more than 1.</param>
    public int PartsOf(int candidates, int splitAbove) =>
        splitAbove <= 0 || candidates <= splitAbove ? 1 : Math.Min((candidates - 1) / splitAbove + 1, Cores);

    /// <summary>A request keeps a core busy until <see cref="Leave"/>.</summary>
    public void Enter() => Interlocked.Increment(ref _working);

    public void Leave() => Interlocked.Decrement(ref _working);

    /// <summary>Scores as <see cref="ModelBundle.Score"/> does, each part a batch by itself. Returns once no part is being worked on.</summary>
    /// <param name="bundle">What to run.</param>
    /// <param name="batch">One that <see cref="ModelBundle.Refuses"/> accepts.</param>
    /// <param name="table">Sized for the batch.</param>
    /// <param name="slots">For each classifier of the bundle its row of the table, or -1 when unwanted.</param>
    /// <param name="picked">The candidates to score, ascending; empty: all.</param>
    /// <param name="parts">At least 2, and at most as many as candidates to score.</param>
    /// <param name="limit">For what each thread spends in the model, over all its parts.</param>
    /// <returns>One outcome for all parts: the first failure, if any part failed, after which none is begun. And the longest that a thread spent in the model, ticks.</returns>
    public (ScoringOutcome Outcome, long Ticks) Score(
        ModelBundle bundle, CandidateBatch batch, ScoreTable table, ReadOnlyMemory<int> slots, ReadOnlySpan<int> picked, int parts, in RunLimit limit)
    {
        if (!bundle.TryHold())
        {
            return (new ScoringOutcome(FailureKind.Error, 0, new ObjectDisposedException(bundle.Name)) { Parts = parts }, 0);
        }

        try
        {
            return _runs.Rent().Score(bundle, batch, table, slots, picked, parts, limit);
        }
        finally
        {
            bundle.Release();
        }
    }

    public void Dispose()
    {
        while (_runs.TryTake(out var run))
        {
            run.Dispose();
        }
    }

    /// <summary>Takes up to that many cores that have nothing to do. Returns how many; each is given back by <see cref="Leave"/>.</summary>
    internal int Claim(int wanted)
    {
        var working = Volatile.Read(ref _working);
        while (true)
        {
            var claimed = Math.Min(wanted, Cores - working);
            if (claimed <= 0)
            {
                return 0;
            }

            var seen = Interlocked.CompareExchange(ref _working, working + claimed, working);
            if (seen == working)
            {
                return claimed;
            }

            working = seen;
        }
    }

    internal void Queue(PartedRun run) => _queue(run);

    /// <summary>Takes back what nobody uses any more.</summary>
    internal void Return(PartedRun run)
    {
        if (!_runs.TryReturn(run))
        {
            run.Dispose();
        }
    }
}
