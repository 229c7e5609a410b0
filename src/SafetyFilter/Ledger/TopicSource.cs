using Confluent.Kafka;

namespace SafetyFilter.Ledger;

/// <summary>Reads a topic of records between two places, by default from its start to what is its end when reading begins. Commits nothing.</summary>
internal sealed record TopicSource(string BootstrapServers, string Topic, IReadOnlyDictionary<string, string> Settings) : ILedgerSource
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    public TopicPlace From { get; init; }

    /// <summary>Where reading stops: this message is not read any more.</summary>
    public TopicPlace To { get; init; }

    /// <summary>The only partition to read; all of them without one.</summary>
    public int? Partition { get; init; }

    /// <summary>Goes on with what comes after the end, until it is cancelled.</summary>
    public bool Follow { get; init; }

    /// <summary>How many messages there are between the two places, once reading has begun; offsets without a message count.</summary>
    public long Messages { get; private set; }

    public string? Read(RecordVisitor visit, DamageVisitor damaged, CancellationToken stop)
    {
        string? trouble = null;
        try
        {
            using var consumer = Consumer("safetyfilter-audit", error => trouble = error).Build();
            if (FindPartitions(consumer, out var partitions) is { } problem)
            {
                return problem;
            }

            var open = PartitionRange.Find(consumer, partitions, From, To, Patience)
                .Select(range => Follow ? range with { End = long.MaxValue } : range)
                .Where(static range => range.First < range.End)
                .ToDictionary(static range => range.Partition.Partition.Value);
            Messages = open.Values.Sum(static range => range.End - range.First);
            var names = open.Keys.ToDictionary(static number => number, NameOf);
            consumer.Assign(open.Values.Select(static range => new TopicPartitionOffset(range.Partition, range.First)));
            while (open.Count > 0)
            {
                stop.ThrowIfCancellationRequested();
                var result = Follow ? consumer.Consume(stop) : consumer.Consume(Patience);
                if (result is null)
                {
                    return $"'{BootstrapServers}' gave nothing for {Patience.TotalSeconds:0} s: {trouble ?? "no reason known"}.";
                }

                var partition = result.Partition.Value;
                if (!open.TryGetValue(partition, out var range))
                {
                    continue;
                }

                if (!result.IsPartitionEOF && result.Offset.Value < range.End)
                {
                    visit(names[partition], result.Offset.Value, TypeOf(result), result.Message.Value ?? []);
                }

                // The last offsets of a partition may hold no message: its end is then told on its own.
                if ((result.IsPartitionEOF && !Follow) || result.Offset.Value >= range.End - 1)
                {
                    open.Remove(partition);
                    consumer.IncrementalUnassign([result.TopicPartition]);
                }
            }

            return null;
        }
        catch (KafkaException error)
        {
            return $"'{BootstrapServers}' cannot be read: {trouble ?? error.Error.Reason}.";
        }
        catch (Exception error) when (error is InvalidOperationException or ArgumentException)
        {
            return $"The Kafka settings are wrong: {error.Message}";
        }
    }

    /// <summary>A consumer that tells the ends of partitions and commits only what it is told to.</summary>
    public ConsumerBuilder<Ignore, byte[]> Consumer(string group, Action<string> onError)
    {
        var config = new Dictionary<string, string>(Settings, StringComparer.Ordinal)
        {
            ["bootstrap.servers"] = BootstrapServers,
            ["group.id"] = group,
            ["enable.auto.commit"] = "false",
            ["auto.offset.reset"] = "earliest",
            ["enable.partition.eof"] = "true",
            ["partition.assignment.strategy"] = "cooperative-sticky",
        };

        // Whoever joins waits for members that went without a word until their session is over; librdkafka's 45 s would be nearly all its patience.
        config.TryAdd("session.timeout.ms", "10000");
        return new ConsumerBuilder<Ignore, byte[]>(config)
            .SetErrorHandler((_, error) => onError(error.Reason))
            .SetLogHandler(static (_, _) => { });
    }

    /// <summary>The partitions to read. Null when there are some; otherwise why not.</summary>
    public string? FindPartitions(IConsumer<Ignore, byte[]> consumer, out IReadOnlyList<TopicPartition> partitions)
    {
        using var admin = new DependentAdminClientBuilder(consumer.Handle).Build();
        var found = admin.GetMetadata(Topic, Patience).Topics[0];
        partitions = [.. found.Partitions.Where(one => Partition is null || one.PartitionId == Partition).Select(one => new TopicPartition(Topic, one.PartitionId))];
        return found.Error.IsError || partitions.Count == 0 ? $"{this} cannot be read: {found.Error.Reason}." : null;
    }

    public override string ToString() => Partition is { } number ? $"Partition {number} of topic '{Topic}' at '{BootstrapServers}'" : $"Topic '{Topic}' at '{BootstrapServers}'";

    public string NameOf(int partition) => $"{Topic}[{partition}]";

    public static RecordType? TypeOf(ConsumeResult<Ignore, byte[]> result) =>
        result.Message.Headers.TryGetLastBytes(CloudEvent.TypeHeader, out var header) ? CloudEvent.TypeOf(header) : null;
}
