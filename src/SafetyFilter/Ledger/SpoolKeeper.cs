using System.Globalization;
using Microsoft.Extensions.Logging;

namespace SafetyFilter.Ledger;

/// <summary>
/// Two threads beside a <see cref="Spool"/>: one prepares the next segment, one brings records to the disk and puts
/// finished segments away. No request waits for either, but for the bounded wait for a late segment.
/// </summary>
internal sealed class SpoolKeeper(Spool spool, SpoolOptions options, Lock gate, TimeProvider time, ILogger logger)
{
    private static readonly TimeSpan RetryAfterFailure = TimeSpan.FromSeconds(1);

    private readonly AutoResetEvent _prepareSignal = new(false);
    private readonly AutoResetEvent _syncSignal = new(false);
    private readonly ManualResetEventSlim _spareReady = new(false, spinCount: 0);
    private Thread? _prepareThread;
    private Thread? _syncThread;
    private volatile bool _stopping;

    // Shared, under the spool's gate.
    private readonly List<Segment> _unnamed = [];
    private readonly List<Segment> _retired = [];
    private Segment? _spare;

    // Used only by the prepare thread.
    private long _spareNumber;
    private volatile string? _spareTrouble;
    private long _populatedFrom;
    private bool _canPopulate = true;

    // Used only by the sync thread.
    private readonly List<Segment> _naming = [];
    private readonly List<Segment> _finishing = [];
    private ulong _durable;
    private long _syncFailures;
    private volatile string? _syncTrouble;
    private volatile string? _lastSyncFailure;

    public SpoolSpace Space { get; } = new(spool.StreamFolder, options, logger);

    /// <summary>Whoever waits for the disk.</summary>
    public DurabilityWaiters Waiters { get; } = new(time);

    /// <summary>Set on every confirmed sync that brought something new.</summary>
    public AutoResetEvent Advanced { get; } = new(false);

    public ulong DurableSequence => Volatile.Read(ref _durable);

    public long SyncFailures => Volatile.Read(ref _syncFailures);

    public bool HasSpare => Volatile.Read(ref _spare) is not null;

    /// <summary>Whether the last sync failed and nothing has been confirmed since.</summary>
    public bool IsSyncFailing => _syncTrouble is not null;

    /// <summary>Whether making a segment failed the last time: waiting for one is of no use.</summary>
    public bool IsOutOfSpace => _spareTrouble is not null;

    public string? LastSyncFailure => _lastSyncFailure;

    public string? Trouble => _syncTrouble ?? _spareTrouble;

    /// <param name="threads">False: whoever waits does what the threads would do.</param>
    public void Start(bool threads)
    {
        if (!threads)
        {
            return;
        }

        _prepareThread = new Thread(Prepare) { IsBackground = true, Name = "ledger-prepare" };
        _syncThread = new Thread(Sync) { IsBackground = true, Name = "ledger-sync" };
        _prepareThread.Start();
        _syncThread.Start();
    }

    /// <summary>Brings everything to the disk and gives all files back. Nothing may be appended any more.</summary>
    public void Stop()
    {
        _stopping = true;
        _prepareSignal.Set();
        _syncSignal.Set();
        _prepareThread?.Join();
        if (_syncThread is null)
        {
            TrySync(closing: true);
        }

        _syncThread?.Join();

        // The prepare thread may have had a page of the last segment in hand when the sync thread looked.
        PutAway();
        if (_spare is not null)
        {
            _spare.Dispose();
            NativeFile.Remove(_spare.Path);
        }
    }

    public Segment? TakeSpare_NeedsLock()
    {
        var spare = _spare;
        if (spare is not null)
        {
            _spare = null;
            _spareReady.Reset();
        }

        return spare;
    }

    /// <summary>Takes over a full segment, and the naming of the one that follows it.</summary>
    public void Retire_NeedsLock(Segment full, Segment successor)
    {
        _retired.Add(full);
        _unnamed.Add(successor);
        _prepareSignal.Set();
        _syncSignal.Set();
    }

    /// <summary>Whether a spare came in time. Another appender may take it first.</summary>
    public bool WaitForSpare(TimeSpan patience) =>
        patience > TimeSpan.Zero && !IsOutOfSpace && (_prepareThread is null ? TryMakeSpare() : _spareReady.Wait(patience));

    /// <summary>Has a spare tried for at once, whatever came of the last try, and waits a moment for it.</summary>
    public void HurrySpare(TimeSpan moment)
    {
        if (_prepareThread is null)
        {
            _ = HasSpare || TryMakeSpare();
            return;
        }

        _prepareSignal.Set();
        _spareReady.Wait(moment);
    }

    /// <summary>Waits a moment for records to become durable.</summary>
    public void Pause()
    {
        if (_syncThread is null)
        {
            TrySync(closing: false);
        }
        else
        {
            if (!IsSyncFailing)
            {
                _syncSignal.Set();
            }

            Thread.Sleep(1);
        }
    }

    /// <summary>Whether the record becomes durable in time. Whoever waits has the disk asked at once.</summary>
    public ValueTask<bool> WhenDurable(ulong sequence, TimeSpan patience)
    {
        var wait = Waiters.Wait(sequence, patience);
        if (!wait.IsCompleted && !IsSyncFailing)
        {
            _syncSignal.Set();
        }

        return wait;
    }

    private void Prepare()
    {
        while (!_stopping)
        {
            var missing = Volatile.Read(ref _spare) is null;
            if (missing && !TryMakeSpare())
            {
                _prepareSignal.WaitOne(RetryAfterFailure);
                continue;
            }

            spool.Tail.Drain();
            PopulateAhead();
            _prepareSignal.WaitOne();
        }
    }

    /// <summary>One step of the prepare thread.</summary>
    public bool TryMakeSpare()
    {
        var name = (_spareNumber++).ToString("D10", CultureInfo.InvariantCulture) + SpoolFolder.SpareExtension;
        var problem = Space.Refuses();
        var spare = problem is null ? Segment.TryCreate(Path.Combine(spool.StreamFolder, name), options.SegmentBytes, out problem) : null;
        if (spare is null)
        {
            if (_spareTrouble is null)
            {
                _spareTrouble = $"no next segment: {problem}";
                LedgerLog.NoSpare(logger, spool.StreamFolder, problem);
            }

            return false;
        }

        _spareTrouble = null;
        lock (gate)
        {
            _spare = spare;
            _spareReady.Set();
        }

        return true;
    }

    /// <summary>
    /// Takes the page faults of about the next interval's records here. Every sync makes pages read-only again, so this
    /// follows each one; it covers what the last interval used and not more, because populated pages are written out.
    /// </summary>
    private void PopulateAhead()
    {
        const long Smallest = 64 << 10;
        const long Largest = 4 << 20;
        if (!_canPopulate)
        {
            return;
        }

        spool.Tail.PinForPopulate(out var segment, out var used);
        var advanced = used - _populatedFrom;
        _populatedFrom = used;
        var error = segment.Populate(used, Math.Clamp(advanced < 0 ? used : advanced, Smallest, Largest));
        segment.Unpin();
        if (error != 0)
        {
            // Before Linux 5.14 there is no such advice: the stores take the faults.
            _canPopulate = false;
            LedgerLog.CannotPopulate(logger, NativeFile.Describe(error));
        }
    }

    private void Sync()
    {
        while (true)
        {
            var last = _stopping;
            var ok = TrySync(last);
            if (last)
            {
                return;
            }

            _syncSignal.WaitOne(ok ? options.SyncInterval : RetryAfterFailure);
        }
    }

    /// <summary>One step of the sync thread; false when something failed.</summary>
    public bool TrySync(bool closing)
    {
        try
        {
            Space.Watch();
            spool.ReportLosses();
            return SyncOnce(closing);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return Fail(spool.StreamFolder, error.Message);
        }
    }

    private bool SyncOnce(bool closing)
    {
        ulong through;
        Segment current;
        long used;
        lock (gate)
        {
            through = spool.Tail.CaptureForSync_NeedsLock(out current, out used);
            _naming.AddRange(_unnamed);
            _unnamed.Clear();
            _finishing.AddRange(_retired);
            _retired.Clear();
            if (closing)
            {
                _finishing.Add(current);
            }
        }

        // First, so that no durable record tells of more losses than the page.
        spool.SyncLosses();
        var advanced = through > _durable;
        var ok = GiveNames();
        foreach (var segment in _finishing)
        {
            ok &= segment.Synced == segment.Used || (segment.Condemned
                ? TryRewrite(segment)
                : TrySync(segment, segment.Used) || (closing && TryRewrite(segment)));
        }

        // Not while it is empty: left for another one then, the two would have one first sequence and so one name.
        if (!closing && (current.Condemned || used > Math.Max(current.Synced, SegmentFormat.FileHeaderLength)) && !TrySync(current, used))
        {
            ok = false;
            spool.Tail.TryLeave(current);
        }

        if (ok)
        {
            _syncTrouble = null;
        }

        if (ok && advanced)
        {
            Volatile.Write(ref _durable, through);
            Waiters.Advance(through);
            Advanced.Set();
            _prepareSignal.Set();
        }

        if (advanced)
        {
            spool.Notary.Wake();
        }

        PutAway();
        return ok;
    }

    /// <summary>Spares that were taken get their real names here and not on the request's thread.</summary>
    private bool GiveNames()
    {
        if (_naming.Count == 0)
        {
            return true;
        }

        while (_naming.Count > 0)
        {
            var segment = _naming[0];
            var path = Path.Combine(spool.StreamFolder, SpoolFolder.SegmentName(segment.FirstSequence));
            File.Move(segment.Path, path);
            segment.Path = path;
            _naming.RemoveAt(0);
        }

        return NativeFile.SyncFolder(spool.StreamFolder) is 0 || Fail(spool.StreamFolder, "fsync of the folder failed");
    }

    private bool TrySync(Segment segment, long used)
    {
        if (segment.Condemned)
        {
            return false;
        }

        var error = segment.DataSync();
        if (error == 0)
        {
            segment.Synced = used;
            return true;
        }

        // Asking this descriptor again would be answered with success by a kernel that dropped the pages.
        segment.Condemn();
        return Fail(segment.Path, NativeFile.Describe(error));
    }

    private bool TryRewrite(Segment segment)
    {
        if (segment.Rewrite() is { } problem)
        {
            return Fail(segment.Path, problem);
        }

        segment.Synced = segment.Used;
        LedgerLog.Rewritten(logger, segment.Path);
        return true;
    }

    private bool Fail(string path, string reason)
    {
        Interlocked.Increment(ref _syncFailures);
        _syncTrouble = _lastSyncFailure = $"'{path}': {reason}";
        LedgerLog.SyncFailed(logger, path, reason);
        return false;
    }

    private void PutAway()
    {
        for (var index = _finishing.Count - 1; index >= 0; index--)
        {
            var segment = _finishing[index];
            if (segment.Synced == segment.Used && !segment.IsPinned)
            {
                segment.TruncateAndDispose();
                _finishing.RemoveAt(index);
            }
        }
    }
}
