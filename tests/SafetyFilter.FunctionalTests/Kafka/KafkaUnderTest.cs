using Confluent.Kafka;
using Confluent.Kafka.Admin;

namespace SafetyFilter.FunctionalTests.Kafka;

/// <summary>The cluster that KAFKA_BOOTSTRAP_SERVERS names, or a mock of our own; and one fresh topic on it.</summary>
internal sealed class KafkaUnderTest : IDisposable
{
    private readonly MockKafkaCluster? _mock;

    public KafkaUnderTest(int partitions = 4)
    {
        Topic = $"safetyfilter.decisions.{Guid.NewGuid():N}";
        CheckpointTopic = Topic + ".checkpoints";
        var servers = Environment.GetEnvironmentVariable("KAFKA_BOOTSTRAP_SERVERS");
        if (string.IsNullOrEmpty(servers))
        {
            _mock = new MockKafkaCluster();
            _mock.CreateTopic(Topic, partitions);
            _mock.CreateTopic(CheckpointTopic, partitions);
            BootstrapServers = _mock.BootstrapServers;
            return;
        }

        BootstrapServers = servers;
        using var admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = servers }).Build();
        admin.CreateTopicsAsync([
            new TopicSpecification { Name = Topic, NumPartitions = partitions },
            new TopicSpecification { Name = CheckpointTopic, NumPartitions = partitions },
        ]).GetAwaiter().GetResult();
    }

    public string BootstrapServers { get; }

    public string Topic { get; }

    public string CheckpointTopic { get; }

    /// <summary>For tests that break the cluster. A real one is not ours to break.</summary>
    public MockKafkaCluster Mock
    {
        get
        {
            Assert.SkipWhen(_mock is null, "KAFKA_BOOTSTRAP_SERVERS is set: faults are injected into the mock cluster only.");
            return _mock!;
        }
    }

    public List<ConsumeResult<byte[], byte[]>> ConsumeAll(string? topic = null)
    {
        topic ??= Topic;
        using var consumer = new ConsumerBuilder<byte[], byte[]>(
            new ConsumerConfig { BootstrapServers = BootstrapServers, GroupId = "test", EnableAutoCommit = false, EnablePartitionEof = true }).Build();
        using var admin = new DependentAdminClientBuilder(consumer.Handle).Build();
        var partitions = admin.GetMetadata(topic, TimeSpan.FromSeconds(30)).Topics[0].Partitions;
        consumer.Assign(partitions.Select(partition => new TopicPartitionOffset(topic, partition.PartitionId, Offset.Beginning)));
        var found = new List<ConsumeResult<byte[], byte[]>>();
        for (var open = partitions.Count; open > 0;)
        {
            var result = consumer.Consume(TimeSpan.FromSeconds(30));
            Assert.NotNull(result);
            if (result.IsPartitionEOF)
            {
                open--;
                continue;
            }

            found.Add(result);
        }

        return found;
    }

    public void Dispose() => _mock?.Dispose();
}
