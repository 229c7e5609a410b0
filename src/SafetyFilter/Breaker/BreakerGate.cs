using SafetyFilter.Decisions;

namespace SafetyFilter.Breaker;

/// <summary>How a trial call went.</summary>
internal enum TrialVerdict
{
    Good,
    Bad,

    /// <summary>It says nothing about the model: another call tries.</summary>
    NoEvidence,
}

/// <summary>
/// Whether calls may pass: the state of one breaker, apart from what opens it. It outlives a change of thresholds, for the
/// bundle before the change and the one after share it. Thread-safe; while it is closed nothing here takes a lock.
/// </summary>
internal sealed class BreakerGate(string bundle, string group, BreakerEvents events, TimeProvider time)
{
    private readonly Lock _lock = new();

    // Read by requests without the lock; written under it.
    private volatile BreakerState _state = BreakerState.Closed;
    private volatile bool _isTrying;
    private volatile int _goodTrials;
    private volatile int _closings;
    private long _openUntil;

    // Under the lock: which trial runs, so that a trial which an operator overtook says nothing.
    private int _trial;

    // What it guards is gone; what calls still change is nothing that anybody should hear of. What an operator does always is.
    private volatile bool _isRetired;

    // Counted by requests.
    private long _calls;
    private long _failures;
    private long _slowCalls;
    private long _turnedAway;

    public string Bundle => bundle;

    public string Group => group;

    public BreakerState State => _state;

    /// <summary>Goes up when it closes: what was counted before then no longer counts.</summary>
    public int Closings => _closings;

    /// <summary>Trials in a row that went well since the break.</summary>
    public int GoodTrials => _state == BreakerState.HalfOpen ? _goodTrials : 0;

    /// <summary>What is left of the break, when it is open.</summary>
    public TimeSpan BreakLeft =>
        _state == BreakerState.Open && Volatile.Read(ref _openUntil) - time.GetTimestamp() is > 0 and var left
            ? TimeSpan.FromSeconds((double)left / time.TimestampFrequency)
            : TimeSpan.Zero;

    /// <summary>Whether it turns every call away, until its break is over or an operator closes it. Looking counts nothing.</summary>
    public bool IsShut => _state == BreakerState.Isolated || BreakLeft > TimeSpan.Zero;

    public long Calls => Volatile.Read(ref _calls);

    public long Failures => Volatile.Read(ref _failures);

    public long SlowCalls => Volatile.Read(ref _slowCalls);

    public long TurnedAway => Volatile.Read(ref _turnedAway);

    /// <summary>Whether a call would be turned away now; counts it if so.</summary>
    public bool TurnsAway()
    {
        var turnsAway = _state switch
        {
            BreakerState.Closed => false,
            BreakerState.Open => time.GetTimestamp() < Volatile.Read(ref _openUntil),
            BreakerState.HalfOpen => _isTrying,
            _ => true,
        };
        if (turnsAway)
        {
            Interlocked.Increment(ref _turnedAway);
        }

        return turnsAway;
    }

    /// <summary>Lets a call pass, or counts it as turned away.</summary>
    /// <param name="trial">0 for an ordinary call; else it is a trial and ends with <see cref="EndTrial"/>.</param>
    public bool TryEnter(out int trial)
    {
        trial = 0;
        if (_state == BreakerState.Closed)
        {
            return true;
        }

        bool isFirst;
        lock (_lock)
        {
            if (_state == BreakerState.Closed)
            {
                return true;
            }

            if (TurnsAway())
            {
                return false;
            }

            isFirst = _state == BreakerState.Open;
            _state = BreakerState.HalfOpen;
            _isTrying = true;
            trial = ++_trial;
        }

        if (isFirst)
        {
            Tell(BreakerState.HalfOpen, BreakerReason.BreakEnded);
        }

        return true;
    }

    /// <param name="needed">Good trials in a row that close it.</param>
    /// <param name="failure">How it failed, if it did.</param>
    /// <param name="breakDuration">How long it opens after a bad one.</param>
    public void EndTrial(int trial, TrialVerdict verdict, int needed, FailureKind failure, TimeSpan breakDuration)
    {
        lock (_lock)
        {
            if (!_isTrying || trial != _trial)
            {
                return;
            }

            _isTrying = false;
            if (verdict == TrialVerdict.NoEvidence)
            {
                return;
            }

            if (verdict == TrialVerdict.Bad)
            {
                Open_NeedsLock(breakDuration);
            }
            else if (++_goodTrials < needed)
            {
                return;
            }
            else
            {
                Close_NeedsLock();
            }
        }

        if (verdict == TrialVerdict.Bad)
        {
            Tell(BreakerState.Open, BreakerReason.TrialFailed, failure, breakDuration);
        }
        else
        {
            Tell(BreakerState.Closed, BreakerReason.TrialsSucceeded);
        }
    }

    /// <summary>Opens it, if it is closed: what else counted and comes later has nothing to add.</summary>
    public void Open(BreakerReason reason, FailureKind failure, TimeSpan breakDuration)
    {
        lock (_lock)
        {
            if (_state != BreakerState.Closed)
            {
                return;
            }

            Open_NeedsLock(breakDuration);
        }

        Tell(BreakerState.Open, reason, failure, breakDuration);
    }

    /// <summary>Turns every call away until <see cref="Close"/>. Calls that run go on.</summary>
    public void Isolate(string actor)
    {
        if (TryIsolate())
        {
            events.Changed(new BreakerTransition(bundle, group, BreakerState.Isolated, BreakerReason.Operator, Actor: actor));
        }
    }

    /// <summary>Closes it, whatever its state; what was counted so far opens nothing any more.</summary>
    public void Close(string actor)
    {
        if (TryClose())
        {
            events.Changed(new BreakerTransition(bundle, group, BreakerState.Closed, BreakerReason.Operator, Actor: actor));
        }
    }

    /// <summary>
    /// What it guards is no longer served. Requests that began before go on as they were. An isolation stays, on the gate that
    /// stands in its place, if there is one.
    /// </summary>
    public void Retire(BreakerGate? successor)
    {
        BreakerState state;
        lock (_lock)
        {
            // Read once: an operator may be at it, who then goes on to the successor.
            _isRetired = true;
            state = _state;
        }

        if (state == BreakerState.Isolated && successor is not null)
        {
            successor.TryIsolate();
        }
        else if (state != BreakerState.Closed)
        {
            events.Changed(new BreakerTransition(bundle, group, BreakerState.Closed, BreakerReason.Reloaded));
        }
    }

    public void CountCall(bool isFailure, bool isSlow)
    {
        Interlocked.Increment(ref _calls);
        if (isFailure)
        {
            Interlocked.Increment(ref _failures);
        }

        if (isSlow)
        {
            Interlocked.Increment(ref _slowCalls);
        }
    }

    private bool TryIsolate()
    {
        lock (_lock)
        {
            var changes = _state != BreakerState.Isolated;
            _state = BreakerState.Isolated;
            _isTrying = false;
            return changes;
        }
    }

    private bool TryClose()
    {
        lock (_lock)
        {
            var changes = _state != BreakerState.Closed;
            Close_NeedsLock();
            return changes;
        }
    }

    private void Open_NeedsLock(TimeSpan breakDuration)
    {
        _goodTrials = 0;
        Volatile.Write(ref _openUntil, time.GetTimestamp() + (long)(breakDuration.TotalSeconds * time.TimestampFrequency));
        _state = BreakerState.Open;
    }

    private void Close_NeedsLock()
    {
        _isTrying = false;
        _closings++;
        _state = BreakerState.Closed;
    }

    // Outside the lock: the ledger may wait for its disk.
    private void Tell(BreakerState state, BreakerReason reason, FailureKind failure = FailureKind.None, TimeSpan breakDuration = default)
    {
        if (!_isRetired)
        {
            events.Changed(new BreakerTransition(bundle, group, state, reason, failure, breakDuration));
        }
    }
}
