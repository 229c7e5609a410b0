using System.Diagnostics;
using System.Security.Cryptography;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>
/// The stream of records on this machine's disk: appended to by requests, read by the publisher. One process per folder.
/// </summary>
/// <remarks>
/// <see cref="Append"/> may be called by any thread and does no system call: it stores into a shared file mapping, so
/// the record is in the operating system's page cache when it returns and survives the death of this process.
/// <see cref="SpoolKeeper"/> has the two threads that make segments ahead and bring records to the disk.
/// </remarks>
internal sealed class Spool : IDisposable
{
    // Records of the ledger's own are not worth waiting in memory for a segment: their makers try again.
    private static readonly RecordTerms OwnRecords = new() { RefuseWhenLate = true };

    // But for one that takes something back.
    private static readonly RecordTerms Withdrawals = new() { Durability = Durability.Memory };

    private readonly Lock _gate = new();
    private readonly SafeFileHandle _lock;
    private readonly SpoolKeeper _keeper;
    private readonly LeafRing _leaves;
    private readonly TimeProvider _time;
    private readonly TimeSpan _patience;
    private readonly TimeSpan _diskPatience;
    private readonly int _maxPayload;
    private readonly LossPage _losses;
    private readonly LossReporter _reporter;
    private readonly SpoolTail _tail;

    // Written under the gate.
    private ulong _lastSequence;
    private long _bytes;
    private ulong _decisions;
    private bool _closing;
    private volatile bool _reports;
    private bool _ended;
    private long _refused;

    // Written by the publisher.
    private ulong _published;

    // The newest record when an append was last refused; any later record ends the refusing.
    private ulong _refusedAfter;

    internal Spool(
        SpoolOptions options, SigningOptions signing, RecoveredStream stream, EpochSigner signer, SafeFileHandle lockHandle,
        Segment first, LossPage losses, int maxRecordBytes, TimeProvider time, ILogger logger)
    {
        StreamId = stream.StreamId;
        Epoch = stream.Report.NextEpoch;
        StreamFolder = stream.Folder;
        Recovery = stream.Report;
        Gaps = new GapAdmission(this, logger);
        Notary = new StreamNotary(this, signing, signer, stream.Tree, time, logger);
        _leaves = Notary.Leaves;
        _lock = lockHandle;
        _time = time;
        _patience = options.AppendPatience;
        _diskPatience = options.DiskPatience;
        _maxPayload = maxRecordBytes;
        _lastSequence = stream.Report.LastSequence;
        _losses = losses;
        _reporter = new LossReporter(this, losses);
        _keeper = new SpoolKeeper(this, options, _gate, time, logger);
        _tail = new SpoolTail(this, _keeper, losses, first, options.MemoryBacklogBytes, _gate, time);
    }

    public Guid StreamId { get; }

    /// <summary>This run's number within the stream, from 1.</summary>
    public uint Epoch { get; }

    public string StreamFolder { get; }

    public RecoveryReport Recovery { get; }

    /// <summary>Builds and signs this stream's tree.</summary>
    public StreamNotary Notary { get; }

    /// <summary>Admits what is lost. Used by the start, then by the publisher.</summary>
    public GapAdmission Gaps { get; }

    /// <summary>How far Kafka has acknowledged, as the publisher last said; 0 without one.</summary>
    public ulong PublishedThrough { get => Volatile.Read(ref _published); set => Volatile.Write(ref _published, value); }

    /// <summary>The sequence of the newest record.</summary>
    public ulong LastSequence => Volatile.Read(ref _lastSequence);

    /// <summary>The newest record in a segment. What is newer waits in memory for one.</summary>
    public ulong WrittenSequence => _tail.WrittenSequence;

    /// <summary>The newest record that fdatasync has confirmed, with all before it.</summary>
    public ulong DurableSequence => _keeper.DurableSequence;

    /// <summary>
    /// How far a publisher may go. Normally what is durable, so that Kafka never knows a record that a loss of power
    /// takes from the disk; everything, once the disk fails and Kafka is the safer place.
    /// </summary>
    public ulong PublishableSequence => _keeper.IsSyncFailing ? WrittenSequence : DurableSequence;

    /// <summary>What is wrong with the disk, in words; null while all is well.</summary>
    public string? Trouble => _keeper.Trouble;

    /// <summary>The last thing that was ever wrong with bringing records to the disk in this run, also when it is over.</summary>
    public string? LastSyncFailure => _keeper.LastSyncFailure;

    /// <summary>Bytes of records and frames appended by this run.</summary>
    public long AppendedBytes => Volatile.Read(ref _bytes);

    /// <summary>Decisions answered without a record since the stream began.</summary>
    public ulong LostTotal => _losses.Total;

    /// <summary>Bytes of records that wait in memory for a segment.</summary>
    public long BacklogBytes => _tail.BacklogBytes;

    /// <summary>Bytes that the spool may still take; -1 when that is not known.</summary>
    public long FreeBytes => _keeper.Space.Free;

    /// <summary>Times that a request waited for the disk.</summary>
    public long DiskWaits => _keeper.Waiters.Waits;

    /// <summary>Appends that ended as <see cref="AppendResult.Unavailable"/> or <see cref="AppendResult.Late"/>.</summary>
    public long RefusedAppends => Volatile.Read(ref _refused);

    /// <summary>
    /// Whether the last append was refused for want of a next segment and there still is none. Appends are tried all the
    /// same; this is for health.
    /// </summary>
    public bool IsRefusing => Volatile.Read(ref _refusedAfter) == LastSequence && !_keeper.HasSpare;

    /// <summary>Times that the disk refused to confirm what was written.</summary>
    public long SyncFailures => _keeper.SyncFailures;

    /// <summary>For the start, and for whoever opened it without threads and takes their steps himself.</summary>
    internal SpoolKeeper Keeper => _keeper;

    /// <summary>For the keeper.</summary>
    internal SpoolTail Tail => _tail;

    /// <summary>Set on every confirmed sync, for whoever follows <see cref="PublishableSequence"/>.</summary>
    public AutoResetEvent Advanced => _keeper.Advanced;

    /// <summary>Takes the folder, recovers what the previous run left, raises the epoch and writes EpochStart.</summary>
    /// <param name="publishes">Whether a publisher will bring its records to Kafka, which takes smaller ones by default.</param>
    /// <param name="signing">How the stream's tree is signed; null: the defaults.</param>
    /// <param name="identity">Who certifies this run's key; null: the key of the file that <paramref name="signing"/> names.</param>
    /// <param name="threads">False for tests that take the steps of keeper and notary themselves.</param>
    /// <exception cref="LedgerException">The folder cannot be used; the message says why and what to do.</exception>
    public static Spool Open(
        SpoolOptions options, string build, TimeProvider time, ILogger? logger = null, bool publishes = false,
        SigningOptions? signing = null, INoteSigner? identity = null, bool threads = true) =>
        SpoolStart.Run(options, build, time, logger ?? NullLogger.Instance, publishes, signing ?? new SigningOptions(), identity, threads);

    /// <summary>
    /// Adds one record. <paramref name="body"/> is the record's message without its field <c>sequence</c>, which is
    /// appended here. Allocates nothing; waits only when the next segment is late, and then no longer than
    /// <see cref="SpoolOptions.AppendPatience"/>. Never waits for the disk: see <see cref="WhenDurable"/>.
    /// </summary>
    /// <param name="terms">What the surface's policy wants when there is no segment for it.</param>
    /// <param name="candidates">Of the decision, to be counted if it is lost.</param>
    public AppendResult Append(RecordType type, ReadOnlySpan<byte> body, RecordTerms terms, int candidates, out LedgerReceipt receipt) =>
        Append(type, body, terms, candidates, _patience, out receipt);

    /// <summary>Adds a record of the ledger's own, or a decision on default terms.</summary>
    public AppendResult Append(RecordType type, ReadOnlySpan<byte> body, out LedgerReceipt receipt) =>
        Append(type, body, type == RecordType.Decision ? RecordTerms.Default : OwnRecords, 0, _patience, out receipt);

    /// <summary>Whether the record becomes durable within <see cref="SpoolOptions.DiskPatience"/>. Blocks no thread.</summary>
    public ValueTask<bool> WhenDurable(ulong sequence) => _keeper.WhenDurable(sequence, _diskPatience);

    /// <summary>Records that the decision with this sequence was not given after all. False when even that cannot be recorded.</summary>
    public bool TryWithdraw(ulong sequence)
    {
        var record = new Withdrawal
        {
            StreamId = StreamIdBytes(),
            Epoch = Epoch,
            TimeUnixNanos = UnixNanos(_time),
            WithdrawnSequence = sequence,
        };
        return Append(RecordType.Withdrawal, record.ToByteArray(), Withdrawals, 0, out _) == AppendResult.Appended;
    }

    /// <summary>Decisions that were lost since the one whose record is made now; it has to tell of them.</summary>
    public ulong ClaimLosses() => _losses.Claim();

    /// <summary>The record that claimed them was not appended.</summary>
    public void UnclaimLosses(ulong claimed) => _losses.Unclaim(claimed);

    /// <summary>Writes EpochEnd, brings everything to the disk and ends appending. The folder stays locked until disposal.</summary>
    public void Close()
    {
        lock (_gate)
        {
            if (_closing)
            {
                return;
            }

            _closing = true;
        }

        _tail.Empty(TimeSpan.FromSeconds(5));
        _reporter.Report();

        // The kernel may write EpochEnd out before the records that its note covers, and the next start would not look for those.
        WaitUntilDurable(TimeSpan.FromSeconds(5));
        _reporter.Report();
        var end = Notary.End(patience: TimeSpan.FromSeconds(5)) ?? new EpochEnd { TimeUnixNanos = UnixNanos(_time) };
        end.StreamId = StreamIdBytes();
        end.Epoch = Epoch;
        end.Decisions = Volatile.Read(ref _decisions);
        Append(RecordType.EpochEnd, end.ToByteArray(), TimeSpan.FromSeconds(5), out _);
        Notary.Dispose();
        _keeper.Stop();
    }

    /// <summary>After a start that failed half-way: this run leaves no end.</summary>
    internal void Abandon()
    {
        lock (_gate)
        {
            _closing = true;
        }

        Notary.Dispose();
        _keeper.Stop();
    }

    public void Dispose()
    {
        Close();
        _tail.Dispose();
        _losses.Dispose();
        _lock.Dispose();
    }

    /// <summary>Whether everything written until now becomes durable in time. Blocks, and has the disk asked at once.</summary>
    internal bool WaitUntilDurable(TimeSpan patience)
    {
        var sequence = WrittenSequence;
        var since = Stopwatch.GetTimestamp();
        while (DurableSequence < sequence && Stopwatch.GetElapsedTime(since) < patience)
        {
            _keeper.Pause();
            if (_keeper.IsSyncFailing)
            {
                break;
            }
        }

        return DurableSequence >= sequence;
    }

    /// <summary>From now on losses are told as they come. The Gap records of a start come first: what EpochStart says rests on them.</summary>
    internal void BeginReporting() => _reports = true;

    /// <inheritdoc cref="LossReporter.Report"/>
    internal void ReportLosses()
    {
        // At the end it is for Close to tell, before EpochEnd.
        if (_reports && !Volatile.Read(ref _closing))
        {
            _reporter.Report();
        }
    }

    /// <summary>Brings the counts of losses to the disk.</summary>
    internal void SyncLosses() => _losses.Sync();

    internal AppendResult Append(RecordType type, ReadOnlySpan<byte> body, TimeSpan patience, out LedgerReceipt receipt) =>
        Append(type, body, OwnRecords, 0, patience, out receipt);

    private unsafe AppendResult Append(
        RecordType type, ReadOnlySpan<byte> body, RecordTerms terms, int candidates, TimeSpan patience, out LedgerReceipt receipt)
    {
        receipt = default;
        var payloadLength = body.Length + SegmentFormat.TrailerLength;
        if (payloadLength > _maxPayload)
        {
            return AppendResult.TooLarge;
        }

        var bodyCrc = SegmentFormat.Crc32C(uint.MaxValue, body);
        var frameLength = SegmentFormat.FrameLength(payloadLength);
        var frame = new FrameHeader { Length = (uint)payloadLength, Epoch = Epoch, TypeAndReserved = (uint)type };
        Segment? segment;
        byte* at;
        long waitingSince = 0;
        var lastTry = false;
        while (true)
        {
            bool draining;
            lock (_gate)
            {
                if (_closing && (_ended || type is not (RecordType.EpochEnd or RecordType.Loss)))
                {
                    return AppendResult.Closed;
                }

                frame.Sequence = _lastSequence + 1;
                at = _tail.TryWrite_NeedsLock(ref frame, bodyCrc, body, frameLength, out segment, out draining);
                if (at is null && (terms.Durability == Durability.Memory || (lastTry && !terms.RefuseWhenLate)))
                {
                    at = _tail.TryKeepInMemory_NeedsLock(ref frame, bodyCrc, body, candidates);
                }

                if (at is not null)
                {
                    Count_NeedsLock(frame.Sequence, type, frameLength);
                    break;
                }
            }

            if (lastTry)
            {
                return Refuse(type, terms, candidates, out receipt);
            }

            waitingSince = waitingSince == 0 ? Stopwatch.GetTimestamp() : waitingSince;
            var left = patience - Stopwatch.GetElapsedTime(waitingSince);
            lastTry = draining ? left <= TimeSpan.Zero : !_keeper.WaitForSpare(left);
        }

        receipt.Epoch = frame.Epoch;
        receipt.Sequence = frame.Sequence;
        receipt.Durability = segment is null ? Durability.Memory : Durability.Process;
        receipt.Pending = segment is null && terms.Durability != Durability.Memory;

        // The byte before the payload is the top byte of the sequence and always 0: just the prefix that a leaf needs.
        SHA256.HashData(new ReadOnlySpan<byte>(at + SegmentFormat.FrameHeaderLength - 1, payloadLength + 1), receipt.LeafHash);
        if (segment is null)
        {
            MemoryBacklog.Release(at);
        }
        else
        {
            segment.Unpin();
        }

        _leaves.Store(frame.Sequence, receipt.LeafHash, type == RecordType.Decision);
        return AppendResult.Appended;
    }

    private AppendResult Refuse(RecordType type, RecordTerms terms, int candidates, out LedgerReceipt receipt)
    {
        receipt = default;
        var result = terms.RefuseWhenLate && !_keeper.IsOutOfSpace ? AppendResult.Late : AppendResult.Unavailable;
        if (type != RecordType.Decision)
        {
            return result;
        }

        if (result == AppendResult.Unavailable && terms.ServeWhenFull && _losses.TryCount(candidates, UnixNanos(_time)))
        {
            receipt.Epoch = Epoch;
            receipt.Durability = Durability.Lost;
            return AppendResult.Lost;
        }

        Volatile.Write(ref _refusedAfter, LastSequence);
        Interlocked.Increment(ref _refused);
        return result;
    }

    private void Count_NeedsLock(ulong sequence, RecordType type, int frameLength)
    {
        Volatile.Write(ref _lastSequence, sequence);
        _bytes += frameLength;
        _decisions += type == RecordType.Decision ? 1UL : 0UL;
        _ended |= type == RecordType.EpochEnd;
    }

    internal ByteString StreamIdBytes() => ByteString.CopyFrom(StreamId.ToByteArray(bigEndian: true));

    internal ulong NowUnixNanos => UnixNanos(_time);

    internal static ulong UnixNanos(TimeProvider time) =>
        (ulong)(time.GetUtcNow().UtcDateTime - DateTime.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;
}
