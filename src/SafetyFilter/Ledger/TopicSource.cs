using Confluent.Kafka;

namespace SafetyFilter.Ledger;

internal delegate void RecordVisitor(string source, long position, RecordType? type, ReadOnlySpan<byte> record);

/// <summary>Reads a decision topic from its start to what was its end when reading began. Commits nothing.</summary>
internal static class TopicSource
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary>Null when all was read; otherwise why not.</summary>
    public static string? Read(
        string bootstrapServers, string topic, IReadOnlyDictionary<string, string> settings, RecordVisitor visit, CancellationToken stop)
    {
        var config = new Dictionary<string, string>(settings, StringComparer.Ordinal)
        {
            ["bootstrap.servers"] = bootstrapServers,
            ["group.id"] = "safetyfilter-audit",
            ["enable.auto.commit"] = "false",
            ["auto.offset.reset"] = "earliest",
            ["enable.partition.eof"] = "true",
        };
        string? trouble = null;
        try
        {
            using var consumer = new ConsumerBuilder<Ignore, byte[]>(config)
                .SetErrorHandler((_, error) => trouble = error.Reason)
                .SetLogHandler(static (_, _) => { })
                .Build();
            using var admin = new DependentAdminClientBuilder(consumer.Handle).Build();
            var found = admin.GetMetadata(topic, Patience).Topics[0];
            if (found.Error.IsError || found.Partitions.Count == 0)
            {
                return $"Topic '{topic}' at '{bootstrapServers}' cannot be read: {found.Error.Reason}.";
            }

            consumer.Assign(found.Partitions.Select(partition => new TopicPartitionOffset(topic, partition.PartitionId, Offset.Beginning)));
            var names = found.Partitions.ToDictionary(static partition => partition.PartitionId, partition => $"{topic}[{partition.PartitionId}]");
            var open = new HashSet<int>(names.Keys);
            while (open.Count > 0)
            {
                stop.ThrowIfCancellationRequested();
                var result = consumer.Consume(Patience);
                if (result is null)
                {
                    return $"'{bootstrapServers}' gave nothing for {Patience.TotalSeconds:0} s: {trouble ?? "no reason known"}.";
                }

                if (result.IsPartitionEOF)
                {
                    open.Remove(result.Partition.Value);
                    continue;
                }

                var type = result.Message.Headers.TryGetLastBytes(CloudEvent.TypeHeader, out var header) ? CloudEvent.TypeOf(header) : null;
                visit(names[result.Partition.Value], result.Offset.Value, type, result.Message.Value ?? []);
            }

            return null;
        }
        catch (KafkaException error)
        {
            return $"'{bootstrapServers}' cannot be read: {trouble ?? error.Error.Reason}.";
        }
        catch (Exception error) when (error is InvalidOperationException or ArgumentException)
        {
            return $"The Kafka settings are wrong: {error.Message}";
        }
    }
}
