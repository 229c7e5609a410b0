using System.Runtime.InteropServices;

namespace SafetyFilter.FunctionalTests.Kafka;

/// <summary>
/// librdkafka's mock cluster: brokers in this process that speak the Kafka protocol over TCP. Keeps 5 MiB per partition.
/// </summary>
internal sealed partial class MockKafkaCluster : IDisposable
{
    public const short ProduceRequest = 0;

    // Its own copy of the library: the one that needs no system SASL.
    private const string Library = "centos8-librdkafka";
    private readonly nint _handle;
    private readonly nint _cluster;

    public MockKafkaCluster(int brokers = 1)
    {
        Brokers = brokers;
        var error = new byte[512];
        _handle = New(0, ConfNew(), error, (nuint)error.Length);
        Check(_handle != 0);
        _cluster = ClusterNew(_handle, brokers);
        Check(_cluster != 0);
        BootstrapServers = Marshal.PtrToStringUTF8(Bootstraps(_cluster))!;
    }

    public int Brokers { get; }

    public string BootstrapServers { get; }

    public void CreateTopic(string name, int partitions) => Check(TopicCreate(_cluster, name, partitions, Brokers) == 0);

    /// <summary>The next requests of this kind fail with these codes, one each.</summary>
    public void PushErrors(short request, params ReadOnlySpan<int> codes) =>
        PushRequestErrors(_cluster, request, (nuint)codes.Length, codes.ToArray());

    /// <summary>Takes back the errors that were pushed and not used up.</summary>
    public void ClearErrors(short request) => ClearRequestErrors(_cluster, request);

    /// <summary>Takes a partition's leader away, or gives it back: until then nothing can be produced to it.</summary>
    public void SetLeader(string topic, int partition, bool exists) => Check(SetLeader(_cluster, topic, partition, exists ? 1 : -1) == 0);

    public void TakeDown()
    {
        for (var broker = 1; broker <= Brokers; broker++)
        {
            Check(SetDown(_cluster, broker) == 0);
        }
    }

    public void BringUp()
    {
        for (var broker = 1; broker <= Brokers; broker++)
        {
            Check(SetUp(_cluster, broker) == 0);
        }
    }

    public void Dispose()
    {
        ClusterDestroy(_cluster);
        Destroy(_handle);
    }

    private static void Check(bool holds)
    {
        if (!holds)
        {
            throw new InvalidOperationException("librdkafka's mock cluster refuses.");
        }
    }

    [LibraryImport(Library, EntryPoint = "rd_kafka_conf_new")]
    private static partial nint ConfNew();

    [LibraryImport(Library, EntryPoint = "rd_kafka_new")]
    private static partial nint New(int type, nint configuration, [Out] byte[] error, nuint errorLength);

    [LibraryImport(Library, EntryPoint = "rd_kafka_destroy")]
    private static partial void Destroy(nint handle);

    [LibraryImport(Library, EntryPoint = "rd_kafka_mock_cluster_new")]
    private static partial nint ClusterNew(nint handle, int brokers);

    [LibraryImport(Library, EntryPoint = "rd_kafka_mock_cluster_destroy")]
    private static partial void ClusterDestroy(nint cluster);

    [LibraryImport(Library, EntryPoint = "rd_kafka_mock_cluster_bootstraps")]
    private static partial nint Bootstraps(nint cluster);

    [LibraryImport(Library, EntryPoint = "rd_kafka_mock_topic_create", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int TopicCreate(nint cluster, string topic, int partitions, int replicationFactor);

    [LibraryImport(Library, EntryPoint = "rd_kafka_mock_push_request_errors_array")]
    private static partial void PushRequestErrors(nint cluster, short request, nuint count, int[] errors);

    [LibraryImport(Library, EntryPoint = "rd_kafka_mock_clear_request_errors")]
    private static partial void ClearRequestErrors(nint cluster, short request);

    [LibraryImport(Library, EntryPoint = "rd_kafka_mock_partition_set_leader", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetLeader(nint cluster, string topic, int partition, int broker);

    [LibraryImport(Library, EntryPoint = "rd_kafka_mock_broker_set_down")]
    private static partial int SetDown(nint cluster, int broker);

    [LibraryImport(Library, EntryPoint = "rd_kafka_mock_broker_set_up")]
    private static partial int SetUp(nint cluster, int broker);
}
