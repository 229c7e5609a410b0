using System.Diagnostics;
using Confluent.Kafka;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace SafetyFilter.Ledger;

/// <summary>
/// Moves the spool's records to Kafka in order, on its own thread, for as long as it takes. The spool is its buffer:
/// nothing is lost and memory stays bounded while Kafka is slow, down or fatal. After a restart the records since the
/// last cursor are published again, always with the same (stream, epoch, sequence).
/// </summary>
/// <remarks>At the end: <see cref="Spool.Close"/>, <see cref="Flush"/>, then dispose this and the spool.</remarks>
internal sealed class KafkaPublisher : IDisposable
{
    private static readonly TimeSpan ShortestBackoff = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan LongestBackoff = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(100);

    private readonly Spool _spool;
    private readonly KafkaOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly CloudEvent _events;
    private readonly Thread _thread;
    private readonly ManualResetEventSlim _stop = new();
    private readonly ManualResetEventSlim _idle = new();
    private volatile InFlightWindow _window;
    private string? _trouble;

    // Used only by the publisher's thread.
    private PublishCursor? _cursor;
    private long _cursorSaved = Stopwatch.GetTimestamp();
    private int _partition = -1;
    private ulong _seenThrough;

    // Damaged places that are known: every session reads the segment of the watermark from its start.
    private readonly HashSet<(string Path, long Offset)> _told;

    // Written by the publisher's thread, read by anyone.
    private long _producers;
    private long _damages;
    private long _cursorFailures;
    private ulong _waitingSince;

    public KafkaPublisher(Spool spool, KafkaOptions options, TimeProvider time, ILogger? logger = null)
    {
        _spool = spool;
        _options = options;
        _time = time;
        _logger = logger ?? NullLogger.Instance;
        _events = new CloudEvent(spool.StreamId, options.Source);
        _cursor = PublishCursor.Read(spool.StreamFolder);
        if (_cursor is not null && string.Equals(_cursor.Topic, options.Topic, StringComparison.Ordinal))
        {
            _partition = _cursor.Partition;
        }

        _told = [.. spool.Recovery.Damages.Select(static damage => (damage.Path, damage.Offset))];
        _seenThrough = _cursor?.PublishedThrough ?? 0;
        _window = NewWindow(_seenThrough);
        _thread = new Thread(Run) { IsBackground = true, Name = "ledger-publish" };
    }

    /// <summary>Kafka has acknowledged every record up to this one.</summary>
    public ulong PublishedThrough => _window.AcknowledgedThrough;

    /// <summary>Records that Kafka does not have yet.</summary>
    public ulong Lag => _spool.LastSequence - Math.Min(PublishedThrough, _spool.LastSequence);

    /// <summary>How long the oldest record that Kafka does not have has been waiting.</summary>
    public TimeSpan OldestUnpublishedAge
    {
        get
        {
            var since = _window.OldestTimeUnixNanos;
            since = since != 0 ? since : Volatile.Read(ref _waitingSince);
            var now = Spool.UnixNanos(_time);
            return Lag == 0 || since == 0 || since > now ? TimeSpan.Zero : new TimeSpan((long)((now - since) / TimeSpan.NanosecondsPerTick));
        }
    }

    /// <summary>What keeps records from being published, in words; null while all is well.</summary>
    public string? Trouble => Volatile.Read(ref _trouble);

    /// <summary>Producers made so far; more than one means fatal or permanent errors.</summary>
    public long Producers => Volatile.Read(ref _producers);

    /// <summary>Damaged places met in the spool, besides those that recovery found.</summary>
    public long Damages => Volatile.Read(ref _damages);

    public long CursorFailures => Volatile.Read(ref _cursorFailures);

    public void Start() => _thread.Start();

    /// <summary>Waits until everything in the spool is published. False when time ran out; the rest stays in the spool.</summary>
    public bool Flush(TimeSpan patience)
    {
        var since = Stopwatch.GetTimestamp();
        while (true)
        {
            _idle.Reset();
            if (Lag == 0)
            {
                return true;
            }

            var left = patience - Stopwatch.GetElapsedTime(since);
            if (left <= TimeSpan.Zero)
            {
                return false;
            }

            _idle.Wait(left < Tick ? left : Tick);
        }
    }

    public void Dispose()
    {
        _stop.Set();
        _spool.Advanced.Set();
        if (_thread.IsAlive)
        {
            _thread.Join();
        }

        _stop.Dispose();
        _idle.Dispose();
    }

    private void Run()
    {
        var backoff = ShortestBackoff;
        while (!_stop.IsSet)
        {
            var before = PublishedThrough;
            _window = NewWindow(before);
            Guarded(() =>
            {
                using var session = new PublisherSession(_options, _window, _logger, OnTrouble);
                Interlocked.Increment(ref _producers);
                Publish(session);
            });
            Guarded(() =>
            {
                SaveCursor(force: true);
                RememberOldest();
            });
            if (!_stop.IsSet)
            {
                backoff = PublishedThrough > before ? ShortestBackoff : TimeSpan.FromTicks(Math.Min(backoff.Ticks * 2, LongestBackoff.Ticks));
                LedgerLog.NewProducer(_logger, _options.Topic, PublishedThrough, backoff, Trouble ?? "");
                _stop.Wait(backoff);
            }
        }
    }

    /// <summary>Whatever it is: requests go on, records wait in the spool, and the reason is told.</summary>
    private void Guarded(Action step)
    {
        try
        {
            step();
        }
        catch (Exception error)
        {
            OnTrouble(error.Message);
        }
    }

    private void Publish(PublisherSession session)
    {
        if (_partition < 0)
        {
            _partition = _options.Partition >= 0 ? _options.Partition : session.ChoosePartition(_spool.StreamId);
        }

        using var reader = SpoolReader.OpenStream(_spool.StreamFolder, from: PublishedThrough + 1, follow: true);
        var handedOver = PublishedThrough;
        while (!_stop.IsSet && session.Failure is null)
        {
            SaveCursor(force: false);
            if (handedOver >= _spool.PublishableSequence)
            {
                _spool.Advanced.WaitOne(Tick);
                continue;
            }

            switch (reader.Read())
            {
                case SpoolRead.Record:
                    if (!HandOver(session, reader))
                    {
                        return;
                    }

                    handedOver = reader.Sequence;
                    break;
                case SpoolRead.Damage when reader.Damage.Kind == DamageKind.Unreadable:
                    // Its records may all be there: what lies behind must not move the watermark past them.
                    OnTrouble($"'{reader.Damage.Path}' cannot be read at {reader.Damage.Offset}: {reader.Damage.Reason}");
                    return;
                case SpoolRead.Damage:
                    var damage = reader.Damage;
                    SpoolRecovery.KeepWhole(_spool.StreamFolder, damage.Path);
                    if (_told.Add((damage.Path, damage.Offset)))
                    {
                        Interlocked.Increment(ref _damages);
                        LedgerLog.DamageFound(_logger, damage.Kind, damage.Path, damage.Offset, damage.Length, damage.AfterSequence);
                    }

                    break;
                default:
                    _spool.Advanced.WaitOne(Tick);
                    break;
            }
        }
    }

    private bool HandOver(PublisherSession session, SpoolReader reader)
    {
        var record = reader.Payload.ToArray();
        _ = RecordFields.TryRead(record, out var fields);
        while (!_window.TryAdd(reader.Sequence, record.Length, fields.TimeUnixNanos))
        {
            _window.WaitForRoom(Tick);
            SaveCursor(force: false);
            if (_stop.IsSet || session.Failure is not null)
            {
                return false;
            }
        }

        // From here on the window tells the age.
        Volatile.Write(ref _waitingSince, 0);
        var message = new Message<byte[], byte[]>
        {
            Key = _events.Key,
            Value = record,
            Timestamp = new Timestamp(CloudEvent.TimeOf(fields.TimeUnixNanos), TimestampType.CreateTime),
            Headers = _events.HeadersFor(reader.Type, reader.Epoch, reader.Sequence, fields.TimeUnixNanos),
        };
        while (!session.TryProduce(new TopicPartition(_options.Topic, _partition), message))
        {
            _window.WaitForRoom(Tick);
            if (_stop.IsSet || session.Failure is not null)
            {
                return false;
            }
        }

        return true;
    }

    private void SaveCursor(bool force)
    {
        var through = PublishedThrough;
        if (through != _seenThrough)
        {
            _seenThrough = through;
            if (Interlocked.Exchange(ref _trouble, null) is not null)
            {
                LedgerLog.PublishingResumed(_logger, _options.Topic, through);
            }
        }

        if (Lag == 0)
        {
            _idle.Set();
        }

        if (through == (_cursor?.PublishedThrough ?? 0) || (!force && Stopwatch.GetElapsedTime(_cursorSaved) < _options.CursorInterval))
        {
            return;
        }

        _cursorSaved = Stopwatch.GetTimestamp();
        var cursor = new PublishCursor(through, _options.Topic, _partition);
        try
        {
            if (cursor.Write(_spool.StreamFolder) is not 0 and var error)
            {
                throw new IOException(NativeFile.Describe(error));
            }

            _cursor = cursor;
            DeletePublished(through);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Nothing is lost: a restart publishes more again than it would have to, and segments stay longer.
            Interlocked.Increment(ref _cursorFailures);
            LedgerLog.CursorFailed(_logger, _spool.StreamFolder, error.Message);
        }
    }

    /// <summary>Only after the cursor is durable: otherwise a crash between the two would start from a hole.</summary>
    private void DeletePublished(ulong through)
    {
        // What the next start needs to find the tree again stays.
        through = Math.Min(through, _spool.Notary.RecoverableFrom);
        var segments = SpoolFolder.Segments(_spool.StreamFolder);
        long kept = 0;
        var last = segments.Count - 2;
        for (; last >= 0; last--)
        {
            if (segments[last + 1].FirstSequence - 1 <= through && (kept += new FileInfo(segments[last].Path).Length) > _options.RetainPublishedBytes)
            {
                break;
            }
        }

        // The oldest first: who reads meanwhile, or after a crash in between, finds what is left in one piece.
        for (var index = 0; index <= last; index++)
        {
            File.Delete(segments[index].Path);
        }
    }

    private void OnTrouble(string reason)
    {
        if (Interlocked.Exchange(ref _trouble, reason) is null)
        {
            LedgerLog.PublishingTroubled(_logger, _options.Topic, PublishedThrough, reason);
        }
    }

    /// <summary>While no producer can be made, the age of the lag is told by the oldest record itself.</summary>
    private void RememberOldest()
    {
        if (!Directory.Exists(_spool.StreamFolder))
        {
            return;
        }

        using var reader = SpoolReader.OpenStream(_spool.StreamFolder, from: PublishedThrough + 1, follow: true);
        var found = reader.Read() == SpoolRead.Record && RecordFields.TryRead(reader.Payload, out var fields) ? fields.TimeUnixNanos : 0;
        Volatile.Write(ref _waitingSince, found);
    }

    private InFlightWindow NewWindow(ulong through) => new(_options.MaxInFlightRecords, _options.MaxInFlightBytes, through);
}
