using Confluent.Kafka;

namespace SafetyFilter.Ledger;

/// <summary>One stream on its way to Kafka: where it goes, what is in flight, how far it is. Used by the publisher's thread; the window by anyone.</summary>
internal sealed class StreamPublication
{
    private KafkaOptions _options;
    private CloudEvent _events;
    private readonly Guid _streamId;
    private int _partition = -1;
    private int _checkpointPartition = -1;

    public StreamPublication(Guid streamId, string folder, KafkaOptions options)
    {
        _streamId = streamId;
        Folder = folder;
        (_options, _events) = (options, new CloudEvent(streamId, options.Source));
        Cursor = PublishCursor.Read(folder);
        if (Cursor is not null && string.Equals(Cursor.Topic, options.Topic, StringComparison.Ordinal))
        {
            _partition = Cursor.Partition;
        }

        if (Cursor is not null && string.Equals(Cursor.CheckpointTopic, options.CheckpointTopic, StringComparison.Ordinal))
        {
            _checkpointPartition = Cursor.CheckpointPartition;
        }

        Window = NewWindow(Cursor?.PublishedThrough ?? 0);
    }

    public string Folder { get; }

    public PublishCursor? Cursor { get; private set; }

    /// <summary>Kafka has acknowledged every record up to this one.</summary>
    public ulong PublishedThrough => Window.AcknowledgedThrough;

    public InFlightWindow Window { get => Volatile.Read(ref field); private set => Volatile.Write(ref field, value); }

    /// <summary>For a new producer: what was in flight is handed over again.</summary>
    public InFlightWindow Restart() => Window = NewWindow(PublishedThrough);

    /// <summary>Other settings from the next producer on. The stream keeps its partition of a topic that stays.</summary>
    public void Use(KafkaOptions options)
    {
        if (!string.Equals(options.Topic, _options.Topic, StringComparison.Ordinal))
        {
            _partition = -1;
        }

        if (!string.Equals(options.CheckpointTopic, _options.CheckpointTopic, StringComparison.Ordinal))
        {
            _checkpointPartition = -1;
        }

        (_options, _events) = (options, new CloudEvent(_streamId, options.Source));
    }

    /// <summary>Finds the stream's partitions, once. Throws while Kafka cannot be asked.</summary>
    public void Locate(PublisherSession session)
    {
        if (_partition < 0)
        {
            _partition = _options.Partition >= 0 ? _options.Partition : session.ChoosePartition(_options.Topic, _streamId);
        }

        if (_checkpointPartition < 0 && _options.CheckpointTopic.Length > 0)
        {
            _checkpointPartition = session.ChoosePartition(_options.CheckpointTopic, _streamId);
        }
    }

    /// <summary>Takes a record into the window and gives it to the producer; what witnesses read goes to two topics.</summary>
    /// <param name="wait">Called while there is no room; false ends the waiting.</param>
    /// <returns>False when it was not handed over.</returns>
    public bool HandOver(PublisherSession session, SpoolReader reader, Func<bool> wait)
    {
        var record = reader.Payload.ToArray();
        _ = RecordFields.TryRead(record, out var fields);

        // What a witness needs: the keys, what they signed, and the last of it.
        var isWitnessed = reader.Type is RecordType.EpochStart or RecordType.Checkpoint or RecordType.EpochEnd
            && _checkpointPartition >= 0;
        while (!Window.TryAdd(reader.Sequence, record.Length, fields.TimeUnixNanos, isWitnessed ? 2 : 1))
        {
            if (!wait())
            {
                return false;
            }
        }

        var message = new Message<byte[], byte[]>
        {
            Key = _events.Key,
            Value = record,
            Timestamp = new Timestamp(CloudEvent.TimeOf(fields.TimeUnixNanos), TimestampType.CreateTime),
            Headers = _events.HeadersFor(reader.Type, reader.Epoch, reader.Sequence, fields.TimeUnixNanos),
        };
        return Produce(session, new TopicPartition(_options.Topic, _partition), message, reader.Sequence, wait)
            && (!isWitnessed || Produce(session, new TopicPartition(_options.CheckpointTopic, _checkpointPartition), message, reader.Sequence, wait));
    }

    /// <summary>Makes the watermark durable; an <see cref="IOException"/> when that fails.</summary>
    public void SaveCursor()
    {
        var cursor = new PublishCursor(PublishedThrough, _options.Topic, _partition, _options.CheckpointTopic, _checkpointPartition);
        if (cursor.Write(Folder) is not 0 and var error)
        {
            throw new IOException(NativeFile.Describe(error));
        }

        Cursor = cursor;
    }

    /// <summary>
    /// Deletes segments up to a sequence and what the cursor says. Only after the cursor is durable: otherwise a crash between
    /// the two would start from a hole.
    /// </summary>
    public void DeletePublished(ulong through)
    {
        through = Math.Min(through, Cursor?.PublishedThrough ?? 0);
        var segments = SpoolFolder.Segments(Folder);
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

    private static bool Produce(PublisherSession session, TopicPartition target, Message<byte[], byte[]> message, ulong sequence, Func<bool> wait)
    {
        while (!session.TryProduce(target, message, sequence))
        {
            if (!wait())
            {
                return false;
            }
        }

        return true;
    }

    private InFlightWindow NewWindow(ulong through) => new(_options.MaxInFlightRecords, _options.MaxInFlightBytes, through);
}
