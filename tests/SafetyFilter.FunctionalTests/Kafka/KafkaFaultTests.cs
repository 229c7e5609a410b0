using SafetyFilter.Ledger;

namespace SafetyFilter.FunctionalTests.Kafka;

/// <summary>Every way in which a broker can refuse a produce request: once, in a burst, and for as long as it likes.</summary>
public sealed class KafkaFaultTests : IDisposable
{
    private const int Burst = 10;
    private const int Records = 60;

    private readonly KafkaUnderTest _kafka = new();
    private readonly PublisherHarness _harness;

    public KafkaFaultTests() => _harness = new PublisherHarness(_kafka);

    /// <summary>
    /// Kafka's protocol error codes. Not among them is 46, DUPLICATE_SEQUENCE_NUMBER: by it a broker says that it has the
    /// records, so a mock that says it without having them proves nothing.
    /// </summary>
    public static TheoryData<int, string> Codes => new()
    {
        { -1, "UNKNOWN_SERVER_ERROR" },
        { 2, "CORRUPT_MESSAGE" },
        { 3, "UNKNOWN_TOPIC_OR_PARTITION" },
        { 5, "LEADER_NOT_AVAILABLE" },
        { 6, "NOT_LEADER_OR_FOLLOWER" },
        { 7, "REQUEST_TIMED_OUT" },
        { 8, "BROKER_NOT_AVAILABLE" },
        { 9, "REPLICA_NOT_AVAILABLE" },
        { 10, "MESSAGE_TOO_LARGE" },
        { 13, "NETWORK_EXCEPTION" },
        { 14, "COORDINATOR_LOAD_IN_PROGRESS" },
        { 16, "NOT_COORDINATOR" },
        { 17, "INVALID_TOPIC_EXCEPTION" },
        { 18, "RECORD_LIST_TOO_LARGE" },
        { 19, "NOT_ENOUGH_REPLICAS" },
        { 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND" },
        { 21, "INVALID_REQUIRED_ACKS" },
        { 29, "TOPIC_AUTHORIZATION_FAILED" },
        { 31, "CLUSTER_AUTHORIZATION_FAILED" },
        { 32, "INVALID_TIMESTAMP" },
        { 35, "UNSUPPORTED_VERSION" },
        { 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT" },
        { 45, "OUT_OF_ORDER_SEQUENCE_NUMBER" },
        { 47, "INVALID_PRODUCER_EPOCH" },
        { 49, "INVALID_PRODUCER_ID_MAPPING" },
        { 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" },
        { 56, "KAFKA_STORAGE_ERROR" },
        { 59, "UNKNOWN_PRODUCER_ID" },
        { 87, "INVALID_RECORD" },
        { 89, "THROTTLING_QUOTA_EXCEEDED" },
    };

    public void Dispose()
    {
        _harness.Dispose();
        _kafka.Dispose();
    }

    [Theory]
    [MemberData(nameof(Codes))]
    public void Publish_BrokerRefusesOnceInABurstAndLastingly_LosesNothingAndKeepsOrder(int code, string name)
    {
        var mock = _kafka.Mock;

        // All records of a phase in one request. A broker refuses what follows a refused request of an idempotent producer; the
        // mock has no such check, and would take a second request that librdkafka has queued already.
        _harness.Kafka.Linger = TimeSpan.FromMilliseconds(100);
        using var spool = _harness.Open();
        using (var publisher = _harness.Start(spool))
        {
            PublisherHarness.Append(spool, Records);
            Assert.True(publisher.Flush(PublisherHarness.Patience), $"{name}: {publisher.Trouble}");

            mock.PushErrors(MockKafkaCluster.ProduceRequest, code);
            PublisherHarness.Append(spool, Records);
            Assert.True(publisher.Flush(PublisherHarness.Patience), $"{name}, once: {publisher.Trouble}");

            mock.PushErrors(MockKafkaCluster.ProduceRequest, [.. Enumerable.Repeat(code, Burst)]);
            PublisherHarness.Append(spool, Records);
            Assert.True(publisher.Flush(PublisherHarness.Patience), $"{name}, burst: {publisher.Trouble}");

            // More than the publisher can use up in this time; requests go on being recorded meanwhile.
            mock.PushErrors(MockKafkaCluster.ProduceRequest, [.. Enumerable.Repeat(code, 100_000)]);
            var before = publisher.PublishedThrough;
            PublisherHarness.Append(spool, Records);
            Assert.False(publisher.Flush(TimeSpan.FromMilliseconds(700)), $"{name}: published in spite of the error");
            Assert.Equal(before, publisher.PublishedThrough);
            mock.ClearErrors(MockKafkaCluster.ProduceRequest);
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), $"{name}, lasting: {publisher.Trouble}");
        }

        _harness.AssertComplete(spool, repeatsAllowed: true);
    }
}
