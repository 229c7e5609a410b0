using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace SafetyFilter.Ledger;

/// <summary>
/// Counts answers without a record, in a page of its own that is reserved on the disk and mapped: counting needs no space and
/// no system call, and survives the death of the process. Thread-safe.
/// </summary>
/// <remarks>
/// Two slots, written in turn, each with a checksum: a kill in the middle of a store leaves the one before. What waits in
/// memory for a segment is counted here as well, so that the next start knows what a kill took from there.
/// </remarks>
internal sealed unsafe class LossPage : IDisposable
{
    public const string FileName = "loss.page";
    private const int PageBytes = 4096;

    // On different sectors.
    private const int SlotStride = PageBytes / 2;

    private readonly Lock _lock = new();
    private readonly Lock _syncing = new();
    private readonly string _streamFolder;
    private readonly ILogger _logger;
    private readonly SafeFileHandle? _file;
    private byte* _page;
    private LossCounts _now;
    private ulong _total;
    private ulong _unclaimed;
    private bool _dirty;
    private bool _syncFailed;

    private LossPage(string streamFolder, ILogger logger, SafeFileHandle? file, byte* page)
    {
        _streamFolder = streamFolder;
        _logger = logger;
        _file = file;
        _page = page;
    }

    /// <summary>Decisions answered without a record since the stream began.</summary>
    public ulong Total => Volatile.Read(ref _total);

    /// <summary>Takes the stream's page, or makes it, and settles what the run before left in it.</summary>
    /// <param name="lastSequence">The last record that recovery found.</param>
    public static LossPage Open(string streamFolder, ulong lastSequence, ILogger logger)
    {
        var path = Path.Combine(streamFolder, FileName);
        var file = NativeFile.OpenOrCreate(path, out var error);
        byte* page = null;
        error = error != 0 ? error : NativeFile.Allocate(file, PageBytes);
        error = error != 0 ? error : NativeFile.Sync(file);
        error = error != 0 ? error : NativeFile.SyncFolder(streamFolder);
        error = error != 0 ? error : NativeFile.Map(file, PageBytes, out page);
        if (error != 0)
        {
            file.Dispose();
            LedgerLog.NoLossPage(logger, path, NativeFile.Describe(error));
            return new LossPage(streamFolder, logger, null, null);
        }

        var opened = new LossPage(streamFolder, logger, file, page);
        opened.Load(path);
        opened.Settle(lastSequence);

        // EpochStart tells the total, and the kernel may write that record out before the page.
        opened.Sync();
        return opened;
    }

    /// <summary>Counts one answer that is given without a record. False when it cannot be counted: then it must not be given.</summary>
    public bool TryCount(int candidates, ulong timeUnixNanos)
    {
        lock (_lock)
        {
            if (_page is null)
            {
                return false;
            }

            _now.Count(1, (ulong)candidates, timeUnixNanos, timeUnixNanos);
            Store_NeedsLock();
            return true;
        }
    }

    /// <summary>Losses that no decision record tells of yet; the caller's record is going to.</summary>
    public ulong Claim()
    {
        if (Volatile.Read(ref _unclaimed) == 0)
        {
            return 0;
        }

        lock (_lock)
        {
            var claimed = _now.Decisions - _now.Claimed;
            _now.Claimed = _now.Decisions;
            Store_NeedsLock();
            return claimed;
        }
    }

    /// <summary>The record that claimed them was not recorded.</summary>
    public void Unclaim(ulong claimed)
    {
        if (claimed != 0)
        {
            lock (_lock)
            {
                _now.Claimed -= claimed;
                Store_NeedsLock();
            }
        }
    }

    /// <summary>A record waits in memory from now on.</summary>
    public void Waits(in WaitingRecord record, in WaitingRecord head, ulong timeUnixNanos)
    {
        lock (_lock)
        {
            _now.WaitingSince = _now.Waiting == 0 ? timeUnixNanos : _now.WaitingSince;
            _now.WaitingUntil = timeUnixNanos;
            _now.Waiting += record.Decisions;
            _now.WaitingCandidates += record.Candidates;
            _now.SetHead(head);
            Store_NeedsLock();
        }
    }

    /// <summary>The oldest record that waited stands in a segment now.</summary>
    public void Arrived(in WaitingRecord record, in WaitingRecord head)
    {
        lock (_lock)
        {
            _now.Waiting -= record.Decisions;
            _now.WaitingCandidates -= record.Candidates;
            _now.SetHead(head);
            Store_NeedsLock();
        }
    }

    /// <summary>What a Loss record has to tell now. False when there is nothing. Call <see cref="EndReport"/> when it was appended.</summary>
    public bool TryBeginReport(ulong lastSequence, out LossCounts report)
    {
        lock (_lock)
        {
            report = _now;
            if (_now.Decisions == _now.Reported)
            {
                return false;
            }

            _now.BeginReport(lastSequence);
            Store_NeedsLock();
        }

        // Before the record: no ledger may know of more losses than the page does after a loss of power.
        Sync();
        return true;
    }

    public void EndReport()
    {
        lock (_lock)
        {
            _now.EndReport();
            Store_NeedsLock();
        }
    }

    /// <summary>Brings the counts to the disk if they changed. Waits for another thread that is doing it.</summary>
    public void Sync()
    {
        lock (_syncing)
        {
            Sync_NeedsLock();
        }
    }

    private void Sync_NeedsLock()
    {
        lock (_lock)
        {
            if (!_dirty || _syncFailed || _file is null)
            {
                return;
            }

            _dirty = false;
        }

        if (NativeFile.DataSync(_file) is not 0 and var error)
        {
            // As with segments: asking again would be answered with success.
            _syncFailed = true;
            LedgerLog.LossPageNotDurable(_logger, _streamFolder, NativeFile.Describe(error));
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            if (_page is not null)
            {
                NativeFile.Unmap(_page, PageBytes);
                _page = null;
                _file!.Dispose();
            }
        }
    }

    private void Load(string path)
    {
        var first = *(LossCounts*)_page;
        var second = *(LossCounts*)(_page + SlotStride);
        if (first.IsWhole || second.IsWhole)
        {
            _now = !second.IsWhole || (first.IsWhole && first.Revision > second.Revision) ? first : second;
            return;
        }

        var known = LossHistory.NewestTotal(_streamFolder);
        _now = new LossCounts { Decisions = known, Reported = known, Claimed = known };
        if (new ReadOnlySpan<byte>(_page, PageBytes).ContainsAnyExcept((byte)0))
        {
            LedgerLog.LossPageDamaged(_logger, path, known);
        }
    }

    private void Settle(ulong lastSequence)
    {
        lock (_lock)
        {
            if (_now.Intent > _now.Reported && LossHistory.Tells(_streamFolder, _now.IntentAfter + 1, _now.Intent))
            {
                _now.EndReport();
            }

            var lost = _now.LoseWaiting(lastSequence);
            if (lost != 0)
            {
                LedgerLog.BacklogLost(_logger, _streamFolder, lost);
            }

            Store_NeedsLock();
        }
    }

    private void Store_NeedsLock()
    {
        Volatile.Write(ref _total, _now.Decisions);
        Volatile.Write(ref _unclaimed, _now.Decisions - _now.Claimed);
        if (_page is null)
        {
            return;
        }

        _now.Seal();
        *(LossCounts*)(_page + (long)(_now.Revision & 1) * SlotStride) = _now;
        _dirty = true;
    }
}

/// <summary>A record as the page counts it while it waits: its place, and what would be lost with it.</summary>
internal readonly record struct WaitingRecord(ulong Sequence, ulong Decisions, ulong Candidates);
