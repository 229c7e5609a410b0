using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Lineage.V1;

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
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(100);

    private readonly Spool _spool;
    private volatile KafkaOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly StreamPublication _stream;
    private readonly Thread _thread;
    private readonly ManualResetEventSlim _stop = new();
    private readonly ManualResetEventSlim _idle = new();
    private string? _trouble;

    // Set by anyone, taken by the publisher's thread.
    private KafkaOptions? _asked;

    // Used only by the publisher's thread.
    private readonly List<string> _leftStreams;
    private long _cursorSaved = Stopwatch.GetTimestamp();
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
        _stream = new StreamPublication(spool.StreamId, spool.StreamFolder, options);
        _told = [.. spool.Recovery.Damages.Select(static damage => (damage.Path, damage.Offset))];
        _seenThrough = spool.PublishedThrough = _stream.PublishedThrough;
        _leftStreams = SpoolFolder.Streams(Path.GetDirectoryName(spool.StreamFolder)!);
        _leftStreams.Remove(spool.StreamFolder);
        _thread = new Thread(Run) { IsBackground = true, Name = "ledger-publish" };
    }

    /// <summary>Kafka has acknowledged every record up to this one.</summary>
    public ulong PublishedThrough => _stream.PublishedThrough;

    /// <summary>Records that Kafka does not have yet.</summary>
    public ulong Lag => _spool.LastSequence - Math.Min(PublishedThrough, _spool.LastSequence);

    /// <summary>How long the oldest record that Kafka does not have has been waiting.</summary>
    public TimeSpan OldestUnpublishedAge
    {
        get
        {
            var since = _stream.Window.OldestTimeUnixNanos;
            since = since != 0 ? since : Volatile.Read(ref _waitingSince);
            var now = Spool.UnixNanos(_time);
            return Lag == 0 || since == 0 || since > now ? TimeSpan.Zero : new TimeSpan((long)((now - since) / TimeSpan.NanosecondsPerTick));
        }
    }

    /// <summary>What keeps records from being published, in words; null while all is well.</summary>
    public string? Trouble => Volatile.Read(ref _trouble);

    /// <summary>Producers made so far; more than one means fatal or permanent errors, or other settings.</summary>
    public long Producers => Volatile.Read(ref _producers);

    /// <summary>Damaged places met in the spool, besides those that recovery found.</summary>
    public long Damages => Volatile.Read(ref _damages);

    public long CursorFailures => Volatile.Read(ref _cursorFailures);

    public void Start() => _thread.Start();

    /// <summary>
    /// Goes on with other settings: the producer is closed, and another one begins behind the last acknowledged record. What was in flight
    /// may be published twice, as after a restart; nothing is left out or reordered. Returns at once.
    /// </summary>
    public void Use(KafkaOptions options)
    {
        Volatile.Write(ref _asked, options);
        _spool.Advanced.Set();
    }

    private bool IsAsked => Volatile.Read(ref _asked) is not null;

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
            if (Interlocked.Exchange(ref _asked, null) is { } asked)
            {
                _options = asked;
                _stream.Use(asked);
                backoff = ShortestBackoff;
                LedgerLog.OtherSettings(_logger, asked.Topic, PublishedThrough);
            }

            var before = PublishedThrough;
            Guarded(() =>
            {
                while (_leftStreams.Count > 0 && PublishLeft(_leftStreams[0]))
                {
                    _leftStreams.RemoveAt(0);
                }

                if (_leftStreams.Count > 0)
                {
                    return;
                }

                using var session = new PublisherSession(_options, _stream.Restart(), _logger, OnTrouble);
                Interlocked.Increment(ref _producers);
                Publish(session);
            });
            Guarded(() =>
            {
                SaveCursor(force: true);
                RememberOldest();
            });
            if (!_stop.IsSet && !IsAsked)
            {
                backoff = PublishedThrough > before ? ShortestBackoff : TimeSpan.FromTicks(Math.Min(backoff.Ticks * 2, _options.LongestBackoff.Ticks));
                LedgerLog.NewProducer(_logger, _options.Topic, PublishedThrough, backoff, Trouble ?? "");
                var since = Stopwatch.GetTimestamp();
                while (!IsAsked && Stopwatch.GetElapsedTime(since) is var waited && waited < backoff && !_stop.Wait(backoff - waited < Tick ? backoff - waited : Tick))
                {
                }
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
        _stream.Locate(session);
        using var reader = SpoolReader.OpenStream(_spool.StreamFolder, from: PublishedThrough + 1, follow: true);
        var handedOver = PublishedThrough;
        var evidence = "";
        bool Wait()
        {
            _stream.Window.WaitForRoom(Tick);
            SaveCursor(force: false);
            return !_stop.IsSet && !IsAsked && session.Failure is null;
        }

        while (!_stop.IsSet && !IsAsked && session.Failure is null)
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
                    AdmitBefore(reader, handedOver, evidence);
                    if (!_stream.HandOver(session, reader, Wait))
                    {
                        return;
                    }

                    // From here on the window tells the age.
                    Volatile.Write(ref _waitingSince, 0);
                    handedOver = reader.Sequence;
                    evidence = "";
                    break;
                case SpoolRead.Damage when reader.Damage.Kind == DamageKind.Unreadable:
                    // Its records may all be there: what lies behind must not move the watermark past them.
                    OnTrouble($"'{reader.Damage.Path}' cannot be read at {reader.Damage.Offset}: {reader.Damage.Reason}");
                    return;
                case SpoolRead.Damage:
                    var damage = reader.Damage;
                    evidence = SpoolRecovery.KeepWhole(_spool.StreamFolder, damage.Path);
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

    /// <summary>Sequences that were jumped over are lost: that is noted durably, and recorded if the spool is open, before anything goes past them.</summary>
    private void AdmitBefore(SpoolReader reader, ulong handedOver, string evidence)
    {
        // Without a cursor the oldest segment is where publishing begins.
        var first = handedOver != 0 ? handedOver + 1 : SpoolFolder.Segments(_spool.StreamFolder)[0].FirstSequence;
        if (first < reader.Sequence)
        {
            var cause = evidence.Length > 0 ? Gap.Types.Cause.Damage : Gap.Types.Cause.LostByDisk;
            _spool.Gaps.Admit(new LostRange(first, reader.Sequence - 1, cause, evidence, EmptyLeaves: false));
        }
    }

    /// <summary>
    /// What a stream before this one left: its records come first. False when there is more to do, with another producer. Its
    /// damaged places stay without a Gap record, because nothing is appended to it any more.
    /// </summary>
    private bool PublishLeft(string folder)
    {
        var left = new StreamPublication(Guid.ParseExact(Path.GetFileName(folder), "N"), folder, _options);
        using (var reader = SpoolReader.OpenStream(folder, from: left.PublishedThrough + 1))
        {
            if (reader.Read() == SpoolRead.End)
            {
                return true;
            }
        }

        using var session = new PublisherSession(_options, left.Window, _logger, OnTrouble);
        left.Locate(session);
        bool Wait()
        {
            left.Window.WaitForRoom(Tick);
            return !_stop.IsSet && !IsAsked && session.Failure is null;
        }

        try
        {
            var through = left.PublishedThrough;
            using var records = SpoolReader.OpenStream(folder, from: through + 1);
            while (records.Read() is var read && read != SpoolRead.End)
            {
                if (read == SpoolRead.Damage)
                {
                    if (records.Damage.Kind == DamageKind.Unreadable)
                    {
                        // Its stream is over: the next start tries again, and the one that goes on does not wait for it.
                        OnTrouble($"'{records.Damage.Path}' cannot be read at {records.Damage.Offset}: {records.Damage.Reason}");
                        break;
                    }

                    SpoolRecovery.KeepWhole(folder, records.Damage.Path);
                    continue;
                }

                if (!left.HandOver(session, records, Wait))
                {
                    return false;
                }

                through = records.Sequence;
            }

            while (left.PublishedThrough < through)
            {
                if (!Wait())
                {
                    return false;
                }
            }
        }
        finally
        {
            if (left.PublishedThrough != (left.Cursor?.PublishedThrough ?? 0))
            {
                left.SaveCursor();
                left.DeletePublished(left.PublishedThrough);
                LedgerLog.PublishedLeft(_logger, folder, left.PublishedThrough);
            }
        }

        return true;
    }

    private void SaveCursor(bool force)
    {
        var through = PublishedThrough;
        if (through != _seenThrough)
        {
            _seenThrough = _spool.PublishedThrough = through;
            if (Interlocked.Exchange(ref _trouble, null) is not null)
            {
                LedgerLog.PublishingResumed(_logger, _options.Topic, through);
            }
        }

        if (Lag == 0)
        {
            _idle.Set();
        }

        if (through == (_stream.Cursor?.PublishedThrough ?? 0) || (!force && Stopwatch.GetElapsedTime(_cursorSaved) < _options.CursorInterval))
        {
            return;
        }

        _cursorSaved = Stopwatch.GetTimestamp();
        try
        {
            _stream.SaveCursor();

            // What the next start needs to find the tree again stays.
            _stream.DeletePublished(_spool.Notary.RecoverableFrom);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Nothing is lost: a restart publishes more again than it would have to, and segments stay longer.
            Interlocked.Increment(ref _cursorFailures);
            LedgerLog.CursorFailed(_logger, _spool.StreamFolder, error.Message);
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
}
