using Google.Protobuf;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.FunctionalTests.Kafka;

/// <summary>A spool in a temporary folder with a publisher to the cluster under test.</summary>
internal sealed class PublisherHarness(KafkaUnderTest kafka) : IDisposable
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public string Folder { get; } = Directory.CreateTempSubdirectory("safetyfilter-kafka-").FullName;

    public KafkaOptions Kafka { get; } = WithClientSettings(new KafkaOptions
    {
        BootstrapServers = kafka.BootstrapServers,
        Topic = kafka.Topic,
        CheckpointTopic = kafka.CheckpointTopic,
        Linger = TimeSpan.Zero,
        CursorInterval = TimeSpan.FromMilliseconds(50),
        LongestBackoff = TimeSpan.FromMilliseconds(20),
        Producer = { ["reconnect.backoff.max.ms"] = "200", ["retry.backoff.ms"] = "10", ["retry.backoff.max.ms"] = "50" },
    });

    /// <param name="checkpointRecords">Most tests count their records, so there are no checkpoints unless asked for.</param>
    public Spool Open(int syncMilliseconds = 5, int checkpointRecords = int.MaxValue) => Spool.Open(
        new SpoolOptions
        {
            Folder = Folder,
            SegmentBytes = 64 << 10,
            MaxRecordBytes = 16 << 10,
            SyncInterval = TimeSpan.FromMilliseconds(syncMilliseconds),
            AppendPatience = TimeSpan.FromSeconds(10),
        },
        "test", TimeProvider.System, signing: new SigningOptions
        {
            CheckpointInterval = TimeSpan.FromDays(1),
            CheckpointRecords = checkpointRecords,
            HeartbeatInterval = TimeSpan.FromDays(1),
        });

    public KafkaPublisher Start(Spool spool)
    {
        var publisher = new KafkaPublisher(spool, Kafka, TimeProvider.System);
        publisher.Start();
        return publisher;
    }

    public static void Append(Spool spool, int count, int length = 200)
    {
        for (var index = 0; index < count; index++)
        {
            var body = new DecisionRecord
            {
                StreamId = ByteString.CopyFrom(spool.StreamId.ToByteArray(bigEndian: true)),
                Epoch = spool.Epoch,
                TimeUnixNanos = 1_700_000_000_123_456_700,
                RequestId = $"request-{spool.Epoch}-{index}",
                Surface = new string('s', length),
                CandidateCount = 3,
            }.ToByteArray();
            Assert.Equal(AppendResult.Appended, spool.Append(RecordType.Decision, body, out _));
        }
    }

    /// <summary>Reads the topic as an auditor does.</summary>
    public LedgerVerifier Verify()
    {
        var verifier = new LedgerVerifier();
        Assert.Null(new TopicSource(kafka.BootstrapServers, kafka.Topic, KafkaUnderTest.Settings).Read(verifier.Add, verifier.AddDamage, CancellationToken.None));
        verifier.Finish();
        return verifier;
    }

    /// <summary>Asserts that the topic holds every sequence from 1 to the last, in order, whole, in one partition.</summary>
    public void AssertComplete(Spool spool, bool repeatsAllowed = false)
    {
        using var verifier = Verify();
        Assert.True(verifier.IsVerified, string.Join('\n', verifier.Findings));
        var stream = Assert.Single(verifier.Streams);
        Assert.Equal((spool.StreamId, 1UL, spool.LastSequence), (stream.StreamId, stream.FirstSequence, stream.LastSequence));
        Assert.Equal((long)spool.LastSequence + verifier.Repeats, verifier.Records);
        if (!repeatsAllowed)
        {
            Assert.Equal(0, verifier.Repeats);
        }
    }

    private static KafkaOptions WithClientSettings(KafkaOptions options)
    {
        foreach (var (name, value) in KafkaUnderTest.Settings)
        {
            options.Producer[name] = value;
        }

        return options;
    }

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}
