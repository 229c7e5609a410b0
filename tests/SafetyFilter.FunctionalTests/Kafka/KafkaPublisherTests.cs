using System.Text;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.FunctionalTests.Kafka;

public sealed class KafkaPublisherTests : IDisposable
{
    // Kafka's own numbers: retriable on a produce request.
    private const int NotLeader = 6;
    private const int RequestTimedOut = 7;
    private const int NotEnoughReplicas = 19;

    // Not retriable: the producer is done for.
    private const int TopicAuthorizationFailed = 29;

    private readonly KafkaUnderTest _kafka = new();
    private readonly PublisherHarness _harness;

    public KafkaPublisherTests() => _harness = new PublisherHarness(_kafka);

    public void Dispose()
    {
        _harness.Dispose();
        _kafka.Dispose();
    }

    [Fact]
    public void Publish_ARun_ArrivesWholeInOrderInOnePartition()
    {
        using var spool = _harness.Open();
        using (var publisher = _harness.Start(spool))
        {
            PublisherHarness.Append(spool, 2000);
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
            Assert.Equal((spool.LastSequence, 0UL, TimeSpan.Zero), (publisher.PublishedThrough, publisher.Lag, publisher.OldestUnpublishedAge));
        }

        _harness.AssertComplete(spool);
        Assert.Single(_kafka.ConsumeAll().Select(message => message.Partition.Value).Distinct());
        Assert.Equal(spool.LastSequence, PublishCursor.Read(spool.StreamFolder)!.PublishedThrough);
        Assert.Single(SpoolFolder.Segments(spool.StreamFolder));
    }

    [Fact]
    public void Publish_ARecord_IsACloudEventInBinaryMode()
    {
        using var spool = _harness.Open();
        using (var publisher = _harness.Start(spool))
        {
            PublisherHarness.Append(spool, 1);
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        var messages = _kafka.ConsumeAll();
        var headers = messages[1].Message.Headers.ToDictionary(header => header.Key, header => Encoding.UTF8.GetString(header.GetValueBytes()));
        var stream = spool.StreamId.ToString("N");
        Assert.Equal("1.0", headers["ce_specversion"]);
        Assert.Equal($"{stream}/2", headers["ce_id"]);
        Assert.Equal("/safetyfilter", headers["ce_source"]);
        Assert.Equal("safetyfilter.decision.v1", headers["ce_type"]);
        Assert.Equal("2023-11-14T22:13:20.1234567Z", headers["ce_time"]);
        Assert.Equal("application/protobuf", headers["content-type"]);
        Assert.Equal(stream, Encoding.ASCII.GetString(messages[1].Message.Key));
        Assert.Equal("request-1-0", DecisionRecord.Parser.ParseFrom(messages[1].Message.Value).RequestId);
        Assert.Equal(
            ["safetyfilter.epoch-start.v1", "safetyfilter.decision.v1", "safetyfilter.epoch-end.v1"],
            messages.Select(message => Encoding.UTF8.GetString(message.Message.Headers.GetLastBytes("ce_type"))));
    }

    [Fact]
    public void Publish_BeforeTheDiskConfirmedARecord_Waits()
    {
        using var spool = _harness.Open(syncMilliseconds: 10_000);
        using var publisher = _harness.Start(spool);
        Assert.True(SpinWait.SpinUntil(() => publisher.PublishedThrough == 1, PublisherHarness.Patience));

        PublisherHarness.Append(spool, 1);

        Assert.False(publisher.Flush(TimeSpan.FromMilliseconds(500)));
        Assert.Equal(1UL, publisher.PublishedThrough);
        spool.Close();
        Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
    }

    [Fact]
    public void Publish_WhileBrokersAreDown_SpoolsAndCatchesUpWithoutLoss()
    {
        var mock = _kafka.Mock;
        using var spool = _harness.Open();
        using (var publisher = _harness.Start(spool))
        {
            PublisherHarness.Append(spool, 300);
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
            mock.TakeDown();

            PublisherHarness.Append(spool, 3000);
            Assert.True(SpinWait.SpinUntil(() => spool.DurableSequence == spool.LastSequence, PublisherHarness.Patience));
            Assert.False(publisher.Flush(TimeSpan.FromMilliseconds(300)));
            Assert.True(publisher.Lag > 0);
            Assert.True(publisher.OldestUnpublishedAge > TimeSpan.Zero);

            mock.BringUp();
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        _harness.AssertComplete(spool);
    }

    [Fact]
    public void Publish_WhenBrokersComeUpAfterTheStart_LosesNothing()
    {
        var mock = _kafka.Mock;
        mock.TakeDown();
        using var spool = _harness.Open();
        using (var publisher = _harness.Start(spool))
        {
            PublisherHarness.Append(spool, 500);
            Assert.True(SpinWait.SpinUntil(() => publisher.Trouble is not null, PublisherHarness.Patience));
            mock.BringUp();
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        _harness.AssertComplete(spool);
    }

    [Fact]
    public void Publish_ThroughABurstOfRetriableErrors_KeepsOrderAndLosesNothing()
    {
        var mock = _kafka.Mock;
        using var spool = _harness.Open();
        using (var publisher = _harness.Start(spool))
        {
            for (var round = 0; round < 5; round++)
            {
                mock.PushErrors(MockKafkaCluster.ProduceRequest, NotLeader, NotEnoughReplicas, RequestTimedOut, NotEnoughReplicas);
                PublisherHarness.Append(spool, 200);
            }

            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
            Assert.Equal(1, publisher.Producers);
        }

        _harness.AssertComplete(spool);
    }

    [Fact]
    public void Publish_AfterAPermanentError_GoesOnFromTheWatermarkWithANewProducer()
    {
        var mock = _kafka.Mock;
        using var spool = _harness.Open();
        using (var publisher = _harness.Start(spool))
        {
            PublisherHarness.Append(spool, 200);
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
            mock.PushErrors(MockKafkaCluster.ProduceRequest, TopicAuthorizationFailed);
            PublisherHarness.Append(spool, 2000);
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
            Assert.True(publisher.Producers > 1);
        }

        _harness.AssertComplete(spool, repeatsAllowed: true);
    }

    [Fact]
    public void Publish_AfterARestart_ContinuesFromTheCursor()
    {
        using (var spool = _harness.Open())
        using (var publisher = _harness.Start(spool))
        {
            PublisherHarness.Append(spool, 500);
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        using var again = _harness.Open();
        using (var publisher = _harness.Start(again))
        {
            Assert.Equal(502UL, publisher.PublishedThrough);
            PublisherHarness.Append(again, 500);
            again.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        _harness.AssertComplete(again);
    }

    [Fact]
    public void Publish_WhenTheCursorIsBehind_RepeatsTheSameRecordsAndNothingElse()
    {
        _harness.Kafka.RetainPublishedBytes = 1L << 30;
        using (var spool = _harness.Open())
        using (var publisher = _harness.Start(spool))
        {
            PublisherHarness.Append(spool, 500);
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        using var again = _harness.Open();
        var cursor = PublishCursor.Read(again.StreamFolder)!;
        Assert.Equal(0, (cursor with { PublishedThrough = 400 }).Write(again.StreamFolder));
        using (var publisher = _harness.Start(again))
        {
            again.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        using var verifier = _harness.Verify();
        Assert.True(verifier.IsVerified, string.Join('\n', verifier.Findings));
        Assert.Equal((102L, 500L), (verifier.Repeats, verifier.Decisions));
    }

    [Fact]
    public void Publish_OverADamagedRecord_KeepsTheSegmentAndPublishesTheRest()
    {
        using (var spool = _harness.Open())
        {
            PublisherHarness.Append(spool, 500);
        }

        var first = SpoolFolder.Segments(SpoolFolder.Streams(_harness.Folder).Single())[0].Path;
        using (var file = File.OpenHandle(first, FileMode.Open, FileAccess.Write))
        {
            RandomAccess.Write(file, [0xFF], 10_000);
        }

        using var again = _harness.Open();
        using (var publisher = _harness.Start(again))
        {
            again.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
            Assert.Equal(1, publisher.Damages);
        }

        using var verifier = _harness.Verify();
        Assert.Equal([FindingKind.Gap], verifier.Findings.Select(finding => finding.Kind));
        Assert.Equal(499, verifier.Decisions);
        Assert.False(File.Exists(first));
        Assert.Single(Directory.GetFiles(Path.Combine(again.StreamFolder, SpoolFolder.Quarantine)));
    }

    [Fact]
    public async Task Publish_ARun_IsReadByKcat()
    {
        using var spool = _harness.Open();
        using (var publisher = _harness.Start(spool))
        {
            PublisherHarness.Append(spool, 50);
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        var lines = await Kcat.ReadAsync(_kafka.BootstrapServers, _kafka.Topic, "%k %S %h\\n");

        var stream = spool.StreamId.ToString("N");
        Assert.Equal(52, lines.Count);
        Assert.All(lines, line => Assert.StartsWith(stream + " ", line, StringComparison.Ordinal));
        Assert.Equal(
            Enumerable.Range(1, 52).Select(sequence => $"ce_id={stream}/{sequence}"),
            lines.Select(line => line.Split(' ')[2].Split(',').Single(header => header.StartsWith("ce_id=", StringComparison.Ordinal))));
    }
}
