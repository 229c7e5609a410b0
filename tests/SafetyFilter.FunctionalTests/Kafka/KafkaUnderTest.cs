using Confluent.Kafka;
using Confluent.Kafka.Admin;

namespace SafetyFilter.FunctionalTests.Kafka;

/// <summary>
/// The cluster that KAFKA_BOOTSTRAP_SERVERS names, or a mock of our own; and one fresh topic on it. Every client of the tests takes the librdkafka
/// settings in KAFKA_CLIENT_SETTINGS, e.g. <c>security.protocol=SASL_SSL;sasl.mechanism=PLAIN;sasl.username=u;sasl.password=p</c>.
/// </summary>
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
        using var admin = new AdminClientBuilder(new AdminClientConfig(Client(BootstrapServers))).Build();
        admin.CreateTopicsAsync([
            new TopicSpecification { Name = Topic, NumPartitions = partitions },
            new TopicSpecification { Name = CheckpointTopic, NumPartitions = partitions },
        ]).GetAwaiter().GetResult();
    }

    /// <summary>What KAFKA_CLIENT_SETTINGS says.</summary>
    public static IReadOnlyDictionary<string, string> Settings { get; } = Parse(Environment.GetEnvironmentVariable("KAFKA_CLIENT_SETTINGS") ?? "");

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

    /// <summary>For a sidecar that publishes here.</summary>
    public (string Key, string Value)[] Sidecar =>
    [
        ("Ledger__Kafka__BootstrapServers", BootstrapServers), ("Ledger__Kafka__Topic", Topic), ("Ledger__Kafka__CheckpointTopic", CheckpointTopic),
        .. Settings.Select(static setting => ("Ledger__Kafka__Producer__" + setting.Key, setting.Value)),
    ];

    /// <summary>For an audit command that reads a topic here.</summary>
    public string[] Audit =>
        ["--topic", Topic, "--bootstrap-servers", BootstrapServers, .. Settings.SelectMany(static setting => new[] { "--kafka-setting", $"{setting.Key}={setting.Value}" })];

    /// <summary>name=value, separated by semicolons; a value may have an equals sign, and no semicolon.</summary>
    public static Dictionary<string, string> Parse(string settings) => settings
        .Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
        .Select(static setting => setting.Split('=', 2))
        .ToDictionary(static parts => parts[0], static parts => parts[1], StringComparer.Ordinal);

    public static Dictionary<string, string> Client(string servers) =>
        new(Settings, StringComparer.Ordinal) { ["bootstrap.servers"] = servers };

    public List<ConsumeResult<byte[], byte[]>> ConsumeAll(string? topic = null)
    {
        topic ??= Topic;
        using var consumer = new ConsumerBuilder<byte[], byte[]>(
            new ConsumerConfig(Client(BootstrapServers)) { GroupId = "test", EnableAutoCommit = false, EnablePartitionEof = true }).Build();
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
