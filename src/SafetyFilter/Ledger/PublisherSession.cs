using System.Buffers.Binary;
using System.Globalization;
using Confluent.Kafka;
using Microsoft.Extensions.Logging;

namespace SafetyFilter.Ledger;

/// <summary>One producer from its making to its first permanent error. After that the publisher makes another, from the watermark.</summary>
internal sealed class PublisherSession : IDisposable
{
    private readonly IProducer<byte[], byte[]> _producer;
    private readonly KafkaOptions _options;
    private readonly InFlightWindow _window;
    private readonly ILogger _logger;
    private readonly Action<string> _onTrouble;
    private volatile string? _failure;

    public PublisherSession(KafkaOptions options, InFlightWindow window, ILogger logger, Action<string> onTrouble)
    {
        _options = options;
        _window = window;
        _logger = logger;
        _onTrouble = onTrouble;
        _producer = new ProducerBuilder<byte[], byte[]>(Settings(options))
            .SetErrorHandler((_, error) => OnError(error))
            .SetLogHandler((_, message) => LedgerLog.Librdkafka(_logger, message.Facility, message.Message))
            .Build();
    }

    /// <summary>Throws a <see cref="LedgerException"/> when no producer can be made of these settings, whether Kafka is up or not.</summary>
    public static void Check(KafkaOptions options)
    {
        try
        {
            new ProducerBuilder<byte[], byte[]>(Settings(options)).SetLogHandler(static (_, _) => { }).Build().Dispose();
        }
        catch (Exception error) when (error is ArgumentException or InvalidOperationException or KafkaException)
        {
            throw new LedgerException(
                $"No Kafka producer can be made of the settings in Ledger:Kafka ({string.Join(", ", options.Producer.Keys.Order(StringComparer.Ordinal))}): " +
                $"{error.Message} Correct or remove the setting under Ledger:Kafka:Producer; librdkafka's CONFIGURATION.md lists names and values.",
                error);
        }
    }

    /// <summary>Why this producer must not be used any more; null while it may.</summary>
    public string? Failure => _failure;

    public static Dictionary<string, string> Settings(KafkaOptions options)
    {
        var settings = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            // One batch may hold one record of the largest size; the broker has the last word.
            ["message.max.bytes"] = (SegmentFormat.MaxPayload + (1 << 20)).ToString(CultureInfo.InvariantCulture),
            ["queue.buffering.max.messages"] = (2 * options.MaxInFlightRecords + 1).ToString(CultureInfo.InvariantCulture),
            ["queue.buffering.max.kbytes"] = "65536",
            ["linger.ms"] = options.Linger.TotalMilliseconds.ToString(CultureInfo.InvariantCulture),
            ["compression.type"] = options.Compression,
            // A stream is one partition: more in flight buys little. librdkafka queues one request behind the one in flight all
            // the same; when the first is refused, it is the broker's sequence check that keeps the second out.
            ["max.in.flight.requests.per.connection"] = "1",

            // Not the value: while Kafka is down librdkafka's copy of a record would keep ours alive beside it.
            ["dotnet.producer.delivery.report.fields"] = "status",
        };
        foreach (var (name, value) in options.Producer)
        {
            settings[name] = value;
        }

        // What the promises rest on comes last and wins.
        settings["bootstrap.servers"] = options.BootstrapServers;
        settings["enable.idempotence"] = "true";
        settings["acks"] = "all";
        settings["message.timeout.ms"] = "0";

        // A record that Kafka refuses for good stops the producer instead of leaving a hole before its successors.
        settings["enable.gapless.guarantee"] = "true";
        return settings;
    }

    /// <summary>The stream's partition by its random half. Throws while Kafka cannot be asked.</summary>
    public int ChoosePartition(string topic, Guid streamId)
    {
        using var admin = new DependentAdminClientBuilder(_producer.Handle).Build();
        var topics = admin.GetMetadata(topic, TimeSpan.FromSeconds(5)).Topics;
        if (topics.Count != 1 || topics[0].Error.IsError || topics[0].Partitions.Count == 0)
        {
            var error = topics.Count == 1 && topics[0].Error.IsError ? topics[0].Error : new Error(ErrorCode.UnknownTopicOrPart);
            throw new KafkaException(new Error(error.Code, $"topic '{topic}': {error.Reason}"));
        }

        Span<byte> id = stackalloc byte[16];
        streamId.TryWriteBytes(id, bigEndian: true, out _);
        return (int)(BinaryPrimitives.ReadUInt64BigEndian(id[8..]) % (ulong)topics[0].Partitions.Count);
    }

    /// <summary>False when the producer's queue is full for now, or when it failed for good (see <see cref="Failure"/>).</summary>
    public bool TryProduce(TopicPartition target, Message<byte[], byte[]> message, ulong sequence)
    {
        try
        {
            _producer.Produce(target, message, new Delivery(this, sequence).OnReport);
            return true;
        }
        catch (ProduceException<byte[], byte[]> error)
        {
            if (error.Error.Code != ErrorCode.Local_QueueFull)
            {
                Fail(error.Error, target.Topic);
            }

            return false;
        }
    }

    public void Dispose()
    {
        try
        {
            if (_failure is null)
            {
                // What does not get through now is published again by the next run.
                _producer.Flush(TimeSpan.FromSeconds(2));
            }
        }
        finally
        {
            _producer.Dispose();
        }
    }

    private void OnError(Error error)
    {
        if (error.IsFatal)
        {
            Fail(error, _options.Topic);
            return;
        }

        _onTrouble(error.Reason);
    }

    private void Fail(Error error, string topic)
    {
        if (_failure is null)
        {
            _failure = error.Reason;
            _onTrouble(error.Code == ErrorCode.MsgSizeTooLarge
                ? $"{error.Reason}: raise max.message.bytes of topic '{topic}'"
                : $"topic '{topic}': {error.Reason}");
            LedgerLog.ProducerFailed(_logger, topic, error.Code, error.Reason);
        }
    }

    /// <summary>What is left of a record while librdkafka has it.</summary>
    private sealed class Delivery(PublisherSession session, ulong sequence)
    {
        // Runs on the poll thread and inside Flush, perhaps on both at once; what it throws is lost.
        public void OnReport(DeliveryReport<byte[], byte[]> report)
        {
            if (report.Error.IsError || report.Status != PersistenceStatus.Persisted)
            {
                session.Fail(report.Error, report.Topic);
                return;
            }

            session._window.Acknowledge(sequence);
        }
    }
}
