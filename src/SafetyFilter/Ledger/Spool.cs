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
    // What moves from memory into a segment under one taking of the lock.
    private const int DrainStep = 64 << 10;

    // Records of the ledger's own are not worth waiting in memory for a segment: their makers try again.
    private static readonly RecordTerms OwnRecords = new() { RefuseWhenLate = true };

    // But for one that takes something back.
    private static readonly RecordTerms Withdrawals = new() { Durability = Durability.Memory };

    private readonly Lock _gate = new();
    private readonly Lock _reporting = new();
    private readonly SafeFileHandle _lock;
    private readonly SpoolKeeper _keeper;
    private readonly LeafRing _leaves;
    private readonly TimeProvider _time;
    private readonly TimeSpan _patience;
    private readonly int _maxPayload;
    private readonly MemoryBacklog _backlog;
    private readonly LossPage _losses;

    // Written under the gate.
    private Segment _current;
    private ulong _writtenSequence;
    private ulong _lastSequence;
    private long _bytes;
    private ulong _decisions;
    private bool _closing;
    private bool _ended;
    private long _refused;

    // Written by the publisher.
    private ulong _published;

    // The newest record when an append was last refused; any later record ends the refusing.
    private ulong _refusedAfter;

    private Spool(
        SpoolOptions options, SigningOptions signing, RecoveredStream stream, EpochSigner signer, SafeFileHandle lockHandle,
        Segment first, LossPage losses, int maxRecordBytes, int leafSlots, TimeProvider time, ILogger logger)
    {
        StreamId = stream.StreamId;
        Epoch = stream.Report.NextEpoch;
        StreamFolder = stream.Folder;
        Recovery = stream.Report;
        Gaps = new GapAdmission(this, logger);
        Notary = new StreamNotary(this, signing, signer, stream.Tree, time, logger, leafSlots);
        _leaves = Notary.Leaves;
        _lock = lockHandle;
        _time = time;
        _patience = options.AppendPatience;
        _maxPayload = maxRecordBytes;
        _lastSequence = _writtenSequence = stream.Report.LastSequence;
        _current = first;
        _losses = losses;
        _backlog = new MemoryBacklog(options.MemoryBacklogBytes);
        _keeper = new SpoolKeeper(this, options, _gate, time, logger);
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
    public ulong WrittenSequence => Volatile.Read(ref _writtenSequence);

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
    public long BacklogBytes => _backlog.Bytes;

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

    /// <summary>For whoever opened it without threads and takes their steps himself.</summary>
    internal SpoolKeeper Keeper => _keeper;

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
        SigningOptions? signing = null, INoteSigner? identity = null, bool threads = true)
    {
        logger ??= NullLogger.Instance;
        signing ??= new SigningOptions();
        SpoolFolder.Create(options.Folder);
        var lockHandle = SpoolFolder.Lock(options.Folder);
        Segment? first = null;
        LossPage? losses = null;
        EpochSigner? signer = null;
        Spool? spool = null;
        try
        {
            var (streamId, lastEpoch) = SpoolFolder.ReadIdentity(options.Folder) ?? Adopt(options.Folder, time);
            var stream = StreamRecovery.Run(options.Folder, streamId, lastEpoch, options.SegmentBytes, time, logger);
            var recovery = stream.Report;
            var epoch = recovery.NextEpoch;
            signer = EpochSigner.Create(
                signing, options.Folder, identity, stream.StreamId, epoch, recovery.LastSequence, stream.Tree.Tree.Root());
            SpoolFolder.WriteIdentity(options.Folder, stream.StreamId, epoch);
            losses = LossPage.Open(stream.Folder, recovery.LastSequence, logger);

            var path = Path.Combine(stream.Folder, SpoolFolder.SegmentName(recovery.LastSequence + 1));
            if (recovery.Spare is { } spare)
            {
                File.Move(spare, path);
            }

            first = Segment.TryCreate(path, options.SegmentBytes, out var problem, recovery.Spare is null ? FileMode.CreateNew : FileMode.Open)
                ?? throw new LedgerException(
                    $"A segment of {options.SegmentBytes} bytes cannot be made in '{stream.Folder}' ({problem}). " +
                    "Free space, or lower Ledger:Spool:SegmentBytes.");
            first.Begin_NeedsLock(new SegmentHeader(stream.StreamId, epoch, recovery.LastSequence + 1, UnixNanos(time)));
            LedgerLog.Recovered(
                logger, stream.StreamId, epoch, recovery.LastSequence, recovery.PreviousEndedCleanly, recovery.BytesCutOff, recovery.Damages.Count);

            var leafSlots = threads ? LeafRing.Slots : 64;
            spool = new Spool(options, signing, stream, signer, lockHandle, first, losses, options.RecordLimit(publishes), leafSlots, time, logger);
            spool.Gaps.NoteRecovered(stream.Tree.Lost);
            spool.AppendEpochStart(build, stream, signer);
            spool._keeper.Start(threads);
            spool.Gaps.AdmitRecovered();
            spool.Notary.Start(threads);
            return spool;
        }
        catch (Exception error)
        {
            if (spool is not null)
            {
                spool.Abandon();
            }

            first?.Dispose();
            losses?.Dispose();
            signer?.Dispose();
            lockHandle.Dispose();
            if (error is IOException or UnauthorizedAccessException)
            {
                throw new LedgerException(
                    $"The spool in '{options.Folder}' cannot be opened: {error.Message} Check the disk for space and errors, and the folder's permissions.",
                    error);
            }

            throw;
        }
    }

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

    /// <summary>Whether the record becomes durable within <see cref="SpoolOptions.AppendPatience"/>. Blocks no thread.</summary>
    public ValueTask<bool> WhenDurable(ulong sequence) => _keeper.WhenDurable(sequence, _patience);

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

        EmptyBacklog(TimeSpan.FromSeconds(5));
        ReportLosses();

        // The kernel may write EpochEnd out before the records that its note covers, and the next start would not look for those.
        WaitUntilDurable(TimeSpan.FromSeconds(5));
        var end = Notary.End(patience: TimeSpan.FromSeconds(5)) ?? new EpochEnd { TimeUnixNanos = UnixNanos(_time) };
        end.StreamId = StreamIdBytes();
        end.Epoch = Epoch;
        end.Decisions = Volatile.Read(ref _decisions);
        Append(RecordType.EpochEnd, end.ToByteArray(), TimeSpan.FromSeconds(5), out _);
        Notary.Dispose();
        _keeper.Stop();
    }

    public void Dispose()
    {
        Close();
        _backlog.Dispose();
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

    /// <summary>What the sync thread has to bring to the disk, and the sequence that is durable once it did.</summary>
    internal ulong CaptureForSync_NeedsLock(out Segment current, out long used)
    {
        current = _current;
        used = _current.Used;
        return _writtenSequence;
    }

    /// <summary>Brings the counts of losses to the disk.</summary>
    internal void SyncLosses() => _losses.Sync();

    /// <summary>Appends a Loss record if there are losses that no such record tells of, and if there is room again.</summary>
    internal void ReportLosses()
    {
        lock (_reporting)
        {
            ReportLosses_NeedsLock();
        }
    }

    private void ReportLosses_NeedsLock()
    {
        if (WrittenSequence != LastSequence || !_losses.TryBeginReport(LastSequence, out var counts))
        {
            return;
        }

        var record = new Loss
        {
            StreamId = StreamIdBytes(),
            Epoch = Epoch,
            TimeUnixNanos = UnixNanos(_time),
            Decisions = counts.Decisions - counts.Reported,
            Candidates = counts.Candidates - counts.ReportedCandidates,
            TotalDecisions = counts.Decisions,
            FirstTimeUnixNanos = counts.FirstTime,
            LastTimeUnixNanos = counts.LastTime,
        };
        if (Append(RecordType.Loss, record.ToByteArray(), TimeSpan.Zero, out _) == AppendResult.Appended)
        {
            _losses.EndReport();
        }
    }

    /// <summary>Moves what waits in memory into segments, as far as there are any.</summary>
    internal void DrainBacklog()
    {
        while (true)
        {
            lock (_gate)
            {
                if (!TryDrain_NeedsLock() || _backlog.IsEmpty_NeedsLock)
                {
                    return;
                }
            }
        }
    }

    /// <summary>The current segment, kept mapped until it is unpinned.</summary>
    internal void PinForPopulate(out Segment current, out long used)
    {
        lock (_gate)
        {
            current = _current;
            used = _current.Used;
            current.Pin();
        }
    }

    /// <summary>Leaves a segment whose fdatasync failed, if it is still the current one and there is another.</summary>
    internal bool TryLeave(Segment condemned)
    {
        lock (_gate)
        {
            return _current != condemned || TryRoll_NeedsLock();
        }
    }

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
        Segment? segment = null;
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
                draining = _backlog.IsEmpty_NeedsLock || TryDrain_NeedsLock();
                if (_backlog.IsEmpty_NeedsLock && HasRoom_NeedsLock(frameLength))
                {
                    segment = _current;
                    at = segment.Write_NeedsLock(ref frame, bodyCrc, body);
                    Volatile.Write(ref _writtenSequence, frame.Sequence);
                    Count_NeedsLock(frame.Sequence, type, frameLength);
                    break;
                }

                // What is in memory already has to go first.
                draining &= !_backlog.IsEmpty_NeedsLock;
                if (terms.Durability == Durability.Memory || (lastTry && !terms.RefuseWhenLate))
                {
                    at = TryKeepInMemory_NeedsLock(ref frame, bodyCrc, body, candidates);
                    if (at is not null)
                    {
                        Count_NeedsLock(frame.Sequence, type, frameLength);
                        break;
                    }
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

    private bool HasRoom_NeedsLock(int frameLength) => _current.Length - _current.Used >= frameLength || TryRoll_NeedsLock();

    private unsafe byte* TryKeepInMemory_NeedsLock(ref FrameHeader frame, uint bodyCrc, ReadOnlySpan<byte> body, int candidates)
    {
        var at = _backlog.TryAdd_NeedsLock(ref frame, bodyCrc, body, candidates);
        if (at is not null)
        {
            _losses.Waits(Waiting(at, candidates), Head_NeedsLock(), UnixNanos(_time));
        }

        return at;
    }

    /// <summary>Moves some of what waits in memory. False when there is no segment for the next of it.</summary>
    private unsafe bool TryDrain_NeedsLock()
    {
        for (var moved = 0; moved < DrainStep && _backlog.TryPeek_NeedsLock(out var frame, out var length, out var candidates); moved += length)
        {
            if (!HasRoom_NeedsLock(length))
            {
                return false;
            }

            var record = Waiting(frame, candidates);
            _current.Copy_NeedsLock(frame, length);
            Volatile.Write(ref _writtenSequence, record.Sequence);
            _backlog.Advance_NeedsLock(length);
            _losses.Arrived(record, Head_NeedsLock());
        }

        return true;
    }

    private unsafe WaitingRecord Head_NeedsLock() =>
        _backlog.TryPeek_NeedsLock(out var frame, out _, out var candidates) ? Waiting(frame, candidates) : default;

    private static unsafe WaitingRecord Waiting(byte* frame, int candidates)
    {
        var header = (FrameHeader*)frame;
        return new WaitingRecord(header->Sequence, header->TypeAndReserved == (uint)RecordType.Decision ? 1UL : 0, (ulong)candidates);
    }

    /// <summary>At the end: waits for a segment for what is in memory. What is left then is lost, and the loss page knows it.</summary>
    private void EmptyBacklog(TimeSpan patience)
    {
        var since = Stopwatch.GetTimestamp();
        for (DrainBacklog(); WrittenSequence != LastSequence && Stopwatch.GetElapsedTime(since) < patience; DrainBacklog())
        {
            // Also when there was no space the last time: these records were answered for.
            _keeper.HurrySpare(TimeSpan.FromMilliseconds(50));
        }
    }

    private bool TryRoll_NeedsLock()
    {
        var spare = _keeper.TakeSpare_NeedsLock();
        if (spare is null)
        {
            return false;
        }

        spare.Begin_NeedsLock(new SegmentHeader(StreamId, Epoch, _writtenSequence + 1, UnixNanos(_time)));
        _keeper.Retire_NeedsLock(_current, spare);
        _current = spare;
        return true;
    }

    /// <summary>After a start that failed half-way: this run leaves no end.</summary>
    private void Abandon()
    {
        lock (_gate)
        {
            _closing = true;
        }

        Notary.Dispose();
        _keeper.Stop();
    }

    private void AppendEpochStart(string build, RecoveredStream stream, EpochSigner signer)
    {
        var root = stream.Tree.Tree.Root();
        var start = new EpochStart
        {
            StreamId = StreamIdBytes(),
            Epoch = Epoch,
            TimeUnixNanos = UnixNanos(_time),
            PreviousEpoch = Recovery.PreviousEpoch,
            PreviousSequence = Recovery.LastSequence,
            BytesCutOff = (ulong)Recovery.BytesCutOff,
            PreviousEndedCleanly = Recovery.PreviousEndedCleanly,
            Build = build,
            BootNonce = ByteString.CopyFrom(signer.BootNonce),
            PreviousRoot = ByteString.CopyFrom(root),
            PreviousFrontier = ByteString.CopyFrom(stream.Tree.Tree.ToArray()),
            Identity = signer.Identity,
            EpochKey = signer.Key.Verifier.Text,
            Certificate = signer.Certificate,
            LostTotal = LostTotal,
            ContinuesStream = stream.Continues is { } before ? ByteString.CopyFrom(before.ToByteArray(bigEndian: true)) : ByteString.Empty,
        };
        var result = Append(RecordType.EpochStart, start.ToByteArray(), TimeSpan.Zero, out _);
        Debug.Assert(result == AppendResult.Appended, "the first record fits an empty segment");
    }

    private ByteString StreamIdBytes() => ByteString.CopyFrom(StreamId.ToByteArray(bigEndian: true));

    /// <summary>Without an identity file: the newest segment knows stream and epoch; without segments a stream begins.</summary>
    private static (Guid StreamId, uint Epoch) Adopt(string root, TimeProvider time)
    {
        var streams = SpoolFolder.Streams(root);
        if (streams.Count > 1)
        {
            throw new LedgerException(
                $"'{root}' has no spool.json and holds {streams.Count} streams. Restore the file, or move all but one stream elsewhere.");
        }

        if (streams.Count == 0)
        {
            return (Guid.CreateVersion7(time.GetUtcNow()), 0);
        }

        // Recovery raises the epoch to what it finds in the newest segment.
        return (Guid.ParseExact(Path.GetFileName(streams[0]), "N"), 0);
    }

    internal ulong NowUnixNanos => UnixNanos(_time);

    internal static ulong UnixNanos(TimeProvider time) =>
        (ulong)(time.GetUtcNow().UtcDateTime - DateTime.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;
}
