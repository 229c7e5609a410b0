using System.Diagnostics;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>
/// Builds the stream's tree behind the appenders and signs it: Checkpoint records while the run lasts, the note of its
/// EpochEnd. Has its own thread; nothing waits for it.
/// </summary>
internal sealed class StreamNotary : IDisposable
{
    private static readonly TimeSpan RetryAfterFailure = TimeSpan.FromSeconds(1);

    private readonly Spool _spool;
    private readonly SigningOptions _options;
    private readonly EpochSigner _signer;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly AutoResetEvent _signal = new(false);
    private readonly ITimer _timer;
    private Thread? _thread;
    private volatile bool _stopping;
    private volatile string? _trouble;

    // Used only by the notary's thread, and by End once that has stopped.
    private readonly CompactRange _tree;
    private CompactRange _growth;
    private ulong _decisions;
    private ulong _signed;
    private ulong _checkpoint;
    private ulong _smallest;
    private long _lastTime;

    // Written by the notary's thread, read by anyone.
    private long _checkpoints;
    private long _failures;

    // What a restart could take the tree from, once it is durable. Under the lock of the queue.
    private readonly Queue<(ulong Record, ulong Size)> _anchors = new();
    private ulong _anchor;

    public StreamNotary(Spool spool, SigningOptions options, EpochSigner signer, RecoveredTree recovered, TimeProvider time, ILogger logger)
    {
        _spool = spool;
        _options = options;
        _signer = signer;
        _time = time;
        _logger = logger;
        _tree = recovered.Tree;
        _growth = recovered.Growth;
        _signed = _tree.End;
        _anchor = _growth.Begin;
        _lastTime = time.GetTimestamp();
        _timer = time.CreateTimer(static state => ((StreamNotary)state!).Wake(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Where appenders put the leaves.</summary>
    public LeafRing Leaves { get; } = new();

    /// <summary>Checkpoints written by this run.</summary>
    public long Checkpoints => Volatile.Read(ref _checkpoints);

    public long Failures => Volatile.Read(ref _failures);

    /// <summary>What keeps checkpoints from being written, in words; null while all is well.</summary>
    public string? Trouble => _trouble;

    /// <summary>What the newest checkpoint covers.</summary>
    public ulong SignedSize => Volatile.Read(ref _signed);

    /// <summary>Records up to here are not needed to find the tree again at the next start.</summary>
    public ulong RecoverableFrom
    {
        get
        {
            lock (_anchors)
            {
                Advance_NeedsLock();
                return _anchor;
            }
        }
    }

    /// <summary>
    /// Begins. The first checkpoint covers everything appended until now: recovery relies on a checkpoint of this epoch
    /// having its EpochStart and its first Gap records below it.
    /// </summary>
    /// <param name="threads">False: somebody calls <see cref="Step"/>.</param>
    public void Start(bool threads)
    {
        _smallest = _spool.LastSequence;
        if (_growth.Begin == 0)
        {
            // No checkpoint to come from: EpochStart will do.
            AddAnchor(_tree.End + 1, _tree.End);
        }

        if (!threads)
        {
            return;
        }

        _thread = new Thread(Run) { IsBackground = true, Name = "ledger-notary" };
        _thread.Start();
    }

    /// <summary>Something was brought to the disk.</summary>
    public void Wake() => _signal.Set();

    /// <summary>Ends the thread, takes in what was appended, and signs the epoch's last checkpoint. Null, and logged, when the disk does not give the records.</summary>
    public EpochEnd? End(TimeSpan patience)
    {
        _stopping = true;
        Wake();
        _thread?.Join();
        try
        {
            // Appenders that are still hashing, and a segment that is yet to be named.
            var through = _spool.LastSequence;
            var since = Stopwatch.GetTimestamp();
            while (!Fold(through))
            {
                if (Stopwatch.GetElapsedTime(since) > patience)
                {
                    throw new IOException($"the records after {_tree.End} cannot be read back");
                }

                _signal.WaitOne(5);
            }

            var nanos = Spool.UnixNanos(_time);
            var text = new CheckpointText(_spool.StreamId, _tree.End, _tree.Root(), _spool.Epoch, nanos, _decisions);
            if (_growth.Begin == 0)
            {
                AddAnchor(_tree.End + 1, _tree.End);
            }

            return new EpochEnd
            {
                TimeUnixNanos = nanos,
                Note = SignedNote.Sign(text.ToString(), _signer.Key).ToString(),
                Frontier = ByteString.CopyFrom(_tree.ToArray()),
            };
        }
        catch (Exception error)
        {
            LedgerLog.EndNotSigned(_logger, _spool.StreamId, error.Message);
            return null;
        }
    }

    public void Dispose()
    {
        _timer.Dispose();
        _signer.Dispose();
    }

    private void Run()
    {
        while (!_stopping)
        {
            TimeSpan pause;
            try
            {
                pause = Step();
                if (pause > TimeSpan.Zero && _trouble is not null)
                {
                    _trouble = null;
                    LedgerLog.NotaryResumed(_logger, _spool.StreamId, _signed);
                }
            }
            catch (Exception error)
            {
                // Whatever it is: decisions go on, and the lack of checkpoints shows.
                Interlocked.Increment(ref _failures);
                pause = RetryAfterFailure;
                if (_trouble is null)
                {
                    LedgerLog.NotaryTroubled(_logger, _spool.StreamId, _signed, error.Message);
                }

                _trouble = error.Message;
            }

            if (pause > TimeSpan.Zero)
            {
                // The timer is set before the clock is looked at again, so that no tick falls between the two.
                _timer.Change(pause, Timeout.InfiniteTimeSpan);
                if (_trouble is not null || UntilDue() > TimeSpan.Zero)
                {
                    _signal.WaitOne();
                }
            }
        }
    }

    /// <summary>Takes in what came, and signs if it is time. How long nothing will have to be done.</summary>
    public TimeSpan Step()
    {
        // Not what is published because the disk fails: a loss of power would contradict what was signed.
        Fold(_spool.DurableSequence);
        if (UntilDue() is var pause && pause > TimeSpan.Zero)
        {
            return pause;
        }

        Sign();
        return TimeSpan.Zero;
    }

    private TimeSpan UntilDue()
    {
        if (_tree.End < _smallest)
        {
            return _options.HeartbeatInterval;
        }

        // A checkpoint alone is no reason for another.
        var news = _tree.End - _signed;
        var own = _checkpoint > _signed && _checkpoint <= _tree.End ? 1UL : 0UL;
        var pause = news == own ? _options.HeartbeatInterval
            : news >= (ulong)_options.CheckpointRecords ? TimeSpan.Zero
            : _options.CheckpointInterval;
        return pause - _time.GetElapsedTime(_lastTime);
    }

    private void Sign()
    {
        var nanos = Spool.UnixNanos(_time);
        var root = _tree.Root();
        var text = new CheckpointText(_spool.StreamId, _tree.End, root, _spool.Epoch, nanos).ToString();
        var lost = _spool.LostTotal;

        // The kernel may write this record out before the page that counts, and a total must never go back.
        _spool.SyncLosses();
        var record = new Checkpoint
        {
            StreamId = ByteString.CopyFrom(_spool.StreamId.ToByteArray(bigEndian: true)),
            Epoch = _spool.Epoch,
            TimeUnixNanos = nanos,
            TreeSize = _tree.End,
            RootHash = ByteString.CopyFrom(root),
            Note = SignedNote.Sign(text, _signer.Key).ToString(),
            Frontier = ByteString.CopyFrom(_tree.ToArray()),
            PreviousSize = _growth.Begin,
            Growth = ByteString.CopyFrom(_growth.ToArray()),
            Decisions = _decisions,
            LostTotal = lost,
            PublishedThrough = _spool.PublishedThrough,
        };
        switch (_spool.Append(RecordType.Checkpoint, record.ToByteArray(), out var receipt))
        {
            case AppendResult.Appended:
                AddAnchor(receipt.Sequence, _tree.End);
                _checkpoint = receipt.Sequence;
                Volatile.Write(ref _signed, _tree.End);
                _growth = new CompactRange(_tree.End);
                _lastTime = _time.GetTimestamp();
                Interlocked.Increment(ref _checkpoints);
                break;
            case AppendResult.Closed:
                _stopping = true;
                break;
            case var refused:
                throw new IOException($"a checkpoint cannot be recorded ({refused})");
        }
    }

    /// <summary>Takes in leaves up to a sequence. False when one of them is neither at hand nor readable yet.</summary>
    private bool Fold(ulong through)
    {
        while (_tree.End < through)
        {
            if (Leaves.TryRead(_tree.End + 1, out var leaf, out var isDecision))
            {
                Take(leaf, isDecision);
            }
            else if (!FoldFromDisk(through))
            {
                return false;
            }
        }

        return true;
    }

    private bool FoldFromDisk(ulong through)
    {
        using var reader = SpoolReader.OpenStream(_spool.StreamFolder, from: _tree.End + 1, follow: true);
        var before = _tree.End;
        while (_tree.End < through && !Leaves.TryRead(_tree.End + 1, out _, out _))
        {
            var read = reader.Read();
            if (read == SpoolRead.Damage && reader.Damage.AfterSequence >= _tree.End)
            {
                throw new IOException($"{LedgerVerifier.Describe(reader.Damage)} in '{reader.Damage.Path}' after sequence {reader.Damage.AfterSequence}");
            }

            if (read == SpoolRead.End)
            {
                break;
            }

            if (read == SpoolRead.Record)
            {
                if (reader.Sequence != _tree.End + 1)
                {
                    throw new IOException($"record {_tree.End + 1} is not there any more");
                }

                Take(TreeHash.OfLeaf(reader.Payload), reader.Type == RecordType.Decision);
            }
        }

        return _tree.End > before;
    }

    private void Take(in TreeHash leaf, bool isDecision)
    {
        _tree.Append(leaf);
        _growth.Append(leaf);
        _decisions += isDecision ? 1UL : 0UL;
    }

    private void AddAnchor(ulong record, ulong size)
    {
        lock (_anchors)
        {
            _anchors.Enqueue((record, size));
            Advance_NeedsLock();
        }
    }

    private void Advance_NeedsLock()
    {
        while (_anchors.TryPeek(out var next) && next.Record <= _spool.DurableSequence)
        {
            _anchor = _anchors.Dequeue().Size;
        }
    }
}
