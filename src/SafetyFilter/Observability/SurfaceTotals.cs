using SafetyFilter.Decisions;

namespace SafetyFilter.Observability;

/// <summary>Answered requests of one surface since the start of the process. Thread-safe; two numbers read together may be a request apart.</summary>
internal sealed class SurfaceTotals
{
    private readonly long[] _byAction = new long[(int)CandidateAction.Block + 1];
    private long _requests;
    private long _candidates;
    private long _degraded;
    private long _overBudget;
    private long _engineMicros;
    private long _budgetMicros;

    public long Requests => Volatile.Read(ref _requests);

    public long Candidates => Volatile.Read(ref _candidates);

    /// <summary>Candidates whose verdict rests on a fail mode.</summary>
    public long Degraded => Volatile.Read(ref _degraded);

    /// <summary>Requests whose engine time was longer than their budget.</summary>
    public long OverBudget => Volatile.Read(ref _overBudget);

    /// <summary>Sum over the requests, microseconds.</summary>
    public long EngineMicros => Volatile.Read(ref _engineMicros);

    /// <summary>Sum over the requests, microseconds.</summary>
    public long BudgetMicros => Volatile.Read(ref _budgetMicros);

    public long Of(CandidateAction action) => Volatile.Read(ref _byAction[(int)action]);

    public void Add(int candidates, int degraded, uint engineMicros, uint budgetMicros)
    {
        Interlocked.Increment(ref _requests);
        Interlocked.Add(ref _candidates, candidates);
        Interlocked.Add(ref _engineMicros, engineMicros);
        Interlocked.Add(ref _budgetMicros, budgetMicros);
        if (degraded > 0)
        {
            Interlocked.Add(ref _degraded, degraded);
        }

        if (engineMicros > budgetMicros)
        {
            Interlocked.Increment(ref _overBudget);
        }
    }

    public void Add(CandidateAction action, int candidates) => Interlocked.Add(ref _byAction[(int)action], candidates);
}
