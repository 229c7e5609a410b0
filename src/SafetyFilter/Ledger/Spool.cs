using System.Diagnostics;
using System.Security.Cryptography;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;
using SafetyFilter.Decisions;
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
    private readonly Lock _gate = new();
    private readonly SafeFileHandle _lock;
    private readonly SpoolKeeper _keeper;
    private readonly TimeProvider _time;
    private readonly TimeSpan _patience;
    private readonly int _maxPayload;

    // Written under the gate.
    private Segment _current;
    private ulong _lastSequence;
    private long _bytes;
    private ulong _decisions;
    private bool _closing;
    private long _refused;

    // The newest record when an append was last refused; any later record ends the refusing.
    private ulong _refusedAfter;

    private Spool(
        SpoolOptions options, Guid streamId, uint epoch, string streamFolder, RecoveryReport recovery, SafeFileHandle lockHandle,
        Segment first, int maxRecordBytes, TimeProvider time, ILogger logger)
    {
        StreamId = streamId;
        Epoch = epoch;
        StreamFolder = streamFolder;
        Recovery = recovery;
        _lock = lockHandle;
        _time = time;
        _patience = options.AppendPatience;
        _maxPayload = maxRecordBytes;
        _lastSequence = recovery.LastSequence;
        _current = first;
        _keeper = new SpoolKeeper(this, options, _gate, logger);
    }

    public Guid StreamId { get; }

    /// <summary>This run's number within the stream, from 1.</summary>
    public uint Epoch { get; }

    public string StreamFolder { get; }

    public RecoveryReport Recovery { get; }

    /// <summary>The sequence of the newest record.</summary>
    public ulong LastSequence => Volatile.Read(ref _lastSequence);

    /// <summary>The newest record that fdatasync has confirmed, with all before it.</summary>
    public ulong DurableSequence => _keeper.DurableSequence;

    /// <summary>
    /// How far a publisher may go. Normally what is durable, so that Kafka never knows a record that a loss of power
    /// takes from the disk; everything, once the disk fails and Kafka is the safer place.
    /// </summary>
    public ulong PublishableSequence => _keeper.IsSyncFailing ? LastSequence : DurableSequence;

    /// <summary>What is wrong with the disk, in words; null while all is well.</summary>
    public string? Trouble => _keeper.Trouble;

    /// <summary>The last thing that was ever wrong with bringing records to the disk in this run, also when it is over.</summary>
    public string? LastSyncFailure => _keeper.LastSyncFailure;

    /// <summary>Bytes of records and frames appended by this run.</summary>
    public long AppendedBytes => Volatile.Read(ref _bytes);

    /// <summary>Appends that ended as <see cref="AppendResult.Unavailable"/>.</summary>
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
    /// <param name="threads">False for tests that take the keeper's steps themselves.</param>
    /// <exception cref="LedgerException">The folder cannot be used; the message says why and what to do.</exception>
    public static Spool Open(SpoolOptions options, string build, TimeProvider time, ILogger? logger = null, bool publishes = false, bool threads = true)
    {
        logger ??= NullLogger.Instance;
        SpoolFolder.Create(options.Folder);
        var lockHandle = SpoolFolder.Lock(options.Folder);
        Segment? first = null;
        try
        {
            var (streamId, lastEpoch) = SpoolFolder.ReadIdentity(options.Folder) ?? Adopt(options.Folder, time);
            var folder = Path.Combine(options.Folder, SpoolFolder.StreamName(streamId));
            SpoolFolder.Create(folder);
            var recovery = SpoolRecovery.Run(folder, streamId, lastEpoch, options.SegmentBytes);
            var epoch = recovery.NextEpoch;
            SpoolFolder.WriteIdentity(options.Folder, streamId, epoch);

            var path = Path.Combine(folder, SpoolFolder.SegmentName(recovery.LastSequence + 1));
            if (recovery.Spare is { } spare)
            {
                File.Move(spare, path);
            }

            first = Segment.TryCreate(path, options.SegmentBytes, out var problem, recovery.Spare is null ? FileMode.CreateNew : FileMode.Open)
                ?? throw new LedgerException(
                    $"A segment of {options.SegmentBytes} bytes cannot be made in '{folder}' ({problem}). " +
                    "Free space, or lower Ledger:Spool:SegmentBytes.");
            var header = new SegmentHeader(streamId, epoch, recovery.LastSequence + 1, UnixNanos(time));
            first.Begin_NeedsLock(header);
            LedgerLog.Recovered(
                logger, streamId, epoch, recovery.LastSequence, recovery.PreviousEndedCleanly, recovery.BytesCutOff, recovery.Damages.Count);
            foreach (var damage in recovery.Damages)
            {
                LedgerLog.DamageFound(logger, damage.Kind, damage.Path, damage.Offset, damage.Length, damage.AfterSequence);
            }

            var spool = new Spool(options, streamId, epoch, folder, recovery, lockHandle, first, options.RecordLimit(publishes), time, logger);
            spool.AppendEpochStart(build);
            if (threads)
            {
                spool._keeper.Start();
            }

            return spool;
        }
        catch (Exception error)
        {
            first?.Dispose();
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
    /// <see cref="SpoolOptions.AppendPatience"/>.
    /// </summary>
    public AppendResult Append(RecordType type, ReadOnlySpan<byte> body, out LedgerReceipt receipt) =>
        Append(type, body, _patience, out receipt);

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

        var end = new EpochEnd
        {
            StreamId = StreamIdBytes(),
            Epoch = Epoch,
            TimeUnixNanos = UnixNanos(_time),
            Decisions = Volatile.Read(ref _decisions),
        };
        Append(RecordType.EpochEnd, end.ToByteArray(), TimeSpan.FromSeconds(5), out _);
        _keeper.Stop();
    }

    public void Dispose()
    {
        Close();
        _lock.Dispose();
    }

    /// <summary>What the sync thread has to bring to the disk, and the sequence that is durable once it did.</summary>
    internal ulong CaptureForSync_NeedsLock(out Segment current, out long used)
    {
        current = _current;
        used = _current.Used;
        return _lastSequence;
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

    private unsafe AppendResult Append(RecordType type, ReadOnlySpan<byte> body, TimeSpan patience, out LedgerReceipt receipt)
    {
        receipt = default;
        var payloadLength = body.Length + SegmentFormat.TrailerLength;
        if (payloadLength > _maxPayload)
        {
            return AppendResult.TooLarge;
        }

        var bodyCrc = SegmentFormat.Crc32C(uint.MaxValue, body);
        var frame = new FrameHeader { Length = (uint)payloadLength, Epoch = Epoch, TypeAndReserved = (uint)type };
        Segment segment;
        byte* at;
        long waitingSince = 0;
        var lastTry = false;
        while (true)
        {
            lock (_gate)
            {
                if (_closing && type != RecordType.EpochEnd)
                {
                    return AppendResult.Closed;
                }

                var frameLength = SegmentFormat.FrameLength(payloadLength);
                if (_current.Length - _current.Used >= frameLength || TryRoll_NeedsLock())
                {
                    segment = _current;
                    frame.Sequence = _lastSequence + 1;
                    at = segment.Write_NeedsLock(ref frame, bodyCrc, body);
                    Volatile.Write(ref _lastSequence, frame.Sequence);
                    _bytes += frameLength;
                    _decisions += type == RecordType.Decision ? 1UL : 0UL;
                    break;
                }
            }

            if (lastTry)
            {
                Volatile.Write(ref _refusedAfter, LastSequence);
                Interlocked.Increment(ref _refused);
                return AppendResult.Unavailable;
            }

            waitingSince = waitingSince == 0 ? Stopwatch.GetTimestamp() : waitingSince;
            lastTry = !_keeper.WaitForSpare(patience - Stopwatch.GetElapsedTime(waitingSince));
        }

        receipt.Epoch = frame.Epoch;
        receipt.Sequence = frame.Sequence;
        receipt.Durability = Durability.Process;

        // The byte before the payload is the top byte of the sequence and always 0: just the prefix that a leaf needs.
        SHA256.HashData(new ReadOnlySpan<byte>(at + SegmentFormat.FrameHeaderLength - 1, payloadLength + 1), receipt.LeafHash);
        segment.Unpin();
        return AppendResult.Appended;
    }

    private bool TryRoll_NeedsLock()
    {
        var spare = _keeper.TakeSpare_NeedsLock();
        if (spare is null)
        {
            return false;
        }

        spare.Begin_NeedsLock(new SegmentHeader(StreamId, Epoch, _lastSequence + 1, UnixNanos(_time)));
        _keeper.Retire_NeedsLock(_current, spare);
        _current = spare;
        return true;
    }

    private void AppendEpochStart(string build)
    {
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
            BootNonce = ByteString.CopyFrom(RandomNumberGenerator.GetBytes(16)),
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

    internal static ulong UnixNanos(TimeProvider time) =>
        (ulong)(time.GetUtcNow().UtcDateTime - DateTime.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;
}
