using System.Diagnostics;
using System.Numerics;
using SafetyFilter.Decisions;

namespace SafetyFilter.Scoring;

/// <summary>
/// One bundle's run in parts. Whoever has a thread takes the next part: the caller, who begins at once, and helpers, when the pool comes to them. The caller
/// waits for parts that a helper has begun and never for a helper that has not, so that an exhausted pool costs nothing but its help.
/// </summary>
/// <remarks>
/// Pooled, and back in the pool only when the caller and every helper have left, also those that come after the end. Such a helper finds no part left, and
/// touches nothing else: what belongs to the request is read only by whoever holds a part, and the caller stays until all parts have ended.
/// Parts write into the table at once: their cells are different ones, and <see cref="ScoreTable"/> allows that.
/// </remarks>
internal sealed class PartedRun(RunSplitter splitter) : IThreadPoolWorkItem, IDisposable
{
    private readonly ManualResetEventSlim _ended = new();

    // Written by the caller before a helper can know of it. Of the request, and null between two.
    private ModelBundle? _bundle;
    private CandidateBatch? _batch;
    private ScoreTable? _table;
    private ReadOnlyMemory<int> _slots;
    private RunLimit _limit;

    // The same, but without the request.
    private int[] _picked = [];
    private int _count;
    private int _parts;

    // Used by all.
    private int _next;
    private int _left;
    private int _users;
    private int _failed;
    private int _invalid;
    private int _scored;
    private long _longest;

    // Written by whoever sets _failed.
    private ScoringOutcome _failure;

    /// <summary>As <see cref="RunSplitter.Score"/>. Never throws; after it the object belongs to whoever rents it next.</summary>
    public (ScoringOutcome Outcome, long Ticks) Score(
        ModelBundle bundle, CandidateBatch batch, ScoreTable table, ReadOnlyMemory<int> slots, ReadOnlySpan<int> picked, int parts, in RunLimit limit)
    {
        (_bundle, _batch, _table, _slots, _limit) = (bundle, batch, table, slots, limit);
        Pick(batch.Count, picked);
        (_parts, _next, _left) = (parts, 0, parts);
        (_failed, _invalid, _scored, _longest, _failure) = (0, 0, 0, 0, default);
        _ended.Reset();
        var helpers = splitter.Claim(parts - 1);
        _users = 1 + helpers;
        for (var i = 0; i < helpers; i++)
        {
            splitter.Queue(this);
        }

        Work();
        if (Volatile.Read(ref _left) != 0)
        {
            _ended.Wait();
        }

        var outcome = _failed != 0 ? _failure : new ScoringOutcome(FailureKind.None, _invalid, null) { IsVain = _scored == 0 };
        var longest = _longest;
        (_bundle, _batch, _table, _slots, _limit, _failure) = (null, null, null, default, default, default);
        Leave();
        return (outcome with { Parts = parts }, longest);
    }

    /// <summary>A helper, from the pool.</summary>
    public void Execute()
    {
        Work();
        splitter.Leave();
        Leave();
    }

    public void Dispose() => _ended.Dispose();

    private void Pick(int candidates, ReadOnlySpan<int> picked)
    {
        _count = picked.IsEmpty ? candidates : picked.Length;
        if (_picked.Length < _count)
        {
            _picked = new int[BitOperations.RoundUpToPowerOf2((uint)_count)];
        }

        picked.CopyTo(_picked);
        for (var i = picked.Length; i < _count; i++)
        {
            _picked[i] = i;
        }
    }

    private void Work()
    {
        var spent = 0L;
        for (var part = Interlocked.Increment(ref _next) - 1; part < _parts; part = Interlocked.Increment(ref _next) - 1)
        {
            if (Volatile.Read(ref _failed) == 0)
            {
                try
                {
                    spent = Score(part, spent);
                }
                catch (Exception error)
                {
                    Fail(new ScoringOutcome(FailureKind.Error, 0, error));
                }
            }

            // The last use of the request, when it was the last part.
            if (Interlocked.Decrement(ref _left) == 0)
            {
                _ended.Set();
            }
        }
    }

    // Reading the inputs in is not the model's doing, so it is not counted, as it is not where a batch is scored whole.
    private long Score(int part, long spent)
    {
        var (from, to) = (RunSplitter.StartOf(part, _parts, _count), RunSplitter.StartOf(part + 1, _parts, _count));
        using var run = _bundle!.Prepare(_batch!, _picked.AsSpan(from, to - from));
        if (!run.IsVain)
        {
            Volatile.Write(ref _scored, 1);
        }

        if (!run.Watch(_limit, spent))
        {
            Fail(new ScoringOutcome(FailureKind.OverBudget, 0, null));
            return spent;
        }

        var began = Stopwatch.GetTimestamp();
        var outcome = run.Run(_table!, _slots.Span);
        spent += Stopwatch.GetTimestamp() - began;
        RaiseLongest(spent);
        if (outcome.Failure != FailureKind.None)
        {
            Fail(outcome);
        }
        else if (outcome.InvalidOutputs > 0)
        {
            Interlocked.Add(ref _invalid, outcome.InvalidOutputs);
        }

        return spent;
    }

    private void Fail(ScoringOutcome outcome)
    {
        if (Interlocked.Exchange(ref _failed, 1) == 0)
        {
            _failure = outcome;
        }
    }

    private void RaiseLongest(long ticks)
    {
        var longest = Volatile.Read(ref _longest);
        while (ticks > longest && Interlocked.CompareExchange(ref _longest, ticks, longest) is var seen && seen != longest)
        {
            longest = seen;
        }
    }

    private void Leave()
    {
        if (Interlocked.Decrement(ref _users) == 0)
        {
            splitter.Return(this);
        }
    }
}
