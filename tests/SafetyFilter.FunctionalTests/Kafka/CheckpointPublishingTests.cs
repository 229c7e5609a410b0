using System.Text;
using Confluent.Kafka;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Tests;

namespace SafetyFilter.FunctionalTests.Kafka;

/// <summary>What belongs to the proof, on its way to Kafka: checkpoints, admitted gaps, and what a stream left to its successor.</summary>
public sealed class CheckpointPublishingTests : IDisposable
{
    private const int CheckpointRecords = 50;

    private readonly KafkaUnderTest _kafka = new();
    private readonly PublisherHarness _harness;

    public CheckpointPublishingTests() => _harness = new PublisherHarness(_kafka);

    public void Dispose()
    {
        _harness.Dispose();
        _kafka.Dispose();
    }

    [Fact]
    public void Publish_Checkpoints_AreInBothTopicsByteForByte()
    {
        using var spool = _harness.Open(checkpointRecords: CheckpointRecords);
        using (var publisher = _harness.Start(spool))
        {
            for (var round = 0; round < 5; round++)
            {
                PublisherHarness.Append(spool, 2 * CheckpointRecords);
                Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
            }

            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        _harness.AssertComplete(spool);
        var decisions = _kafka.ConsumeAll();
        var checkpoints = _kafka.ConsumeAll(_kafka.CheckpointTopic);
        Assert.Equal(spool.Notary.Checkpoints + 2, checkpoints.Count);
        Assert.True(spool.Notary.Checkpoints > 1);
        Assert.Equal(decisions.Where(static one => TypeOf(one) != "safetyfilter.decision.v1").Select(Describe), checkpoints.Select(Describe));
        Assert.Equal(decisions[0].Partition, Assert.Single(checkpoints.Select(static one => one.Partition).Distinct()));
        Assert.True(Checkpoint.Parser.ParseFrom(checkpoints[^2].Message.Value).PublishedThrough > 0);
    }

    [Fact]
    public void Publish_WhileTheCheckpointTopicTakesNothing_HoldsTheWatermarkBeforeTheCheckpoint()
    {
        // librdkafka's mock reads through the leader that is not there now and then, and takes the whole test process with it.
        Assert.SkipUnless(LongRun.IsAskedFor, "The mock cluster may crash without a leader: set SAFETYFILTER_LONG=1.");
        var mock = _kafka.Mock;
        using var spool = _harness.Open(checkpointRecords: CheckpointRecords);
        using (var publisher = _harness.Start(spool))
        {
            Assert.True(SpinWait.SpinUntil(() => publisher.PublishedThrough >= 1, PublisherHarness.Patience));
            SetLeaders(mock, exist: false);
            PublisherHarness.Append(spool, 2 * CheckpointRecords);
            Assert.True(SpinWait.SpinUntil(() => spool.Notary.Checkpoints > 0, PublisherHarness.Patience));
            var checkpoint = FirstCheckpoint(spool);
            Assert.True(SpinWait.SpinUntil(() => publisher.PublishedThrough == checkpoint - 1, PublisherHarness.Patience));

            spool.Close();
            Assert.False(publisher.Flush(TimeSpan.FromMilliseconds(500)));
            Assert.Equal(checkpoint - 1, publisher.PublishedThrough);

            SetLeaders(mock, exist: true);
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        _harness.AssertComplete(spool);
        Assert.Equal(spool.Notary.Checkpoints + 2, _kafka.ConsumeAll(_kafka.CheckpointTopic).Count);
    }

    [Fact]
    public void Publish_WithoutACheckpointTopic_GoesToTheOneTopic()
    {
        _harness.Kafka.CheckpointTopic = "";
        using var spool = _harness.Open(checkpointRecords: CheckpointRecords);
        using (var publisher = _harness.Start(spool))
        {
            PublisherHarness.Append(spool, 2 * CheckpointRecords);
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        _harness.AssertComplete(spool);
        Assert.Empty(_kafka.ConsumeAll(_kafka.CheckpointTopic));
    }

    [Fact]
    public void Publish_OverDamage_AdmitsItOnceAlsoAcrossRestarts()
    {
        Damaged(out var lost);
        for (var run = 0; run < 2; run++)
        {
            using var spool = _harness.Open();
            using var publisher = _harness.Start(spool);
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        AssertAdmitted(lost);
    }

    [Fact]
    public void Publish_OverDamageWhenTheSpoolIsClosed_LeavesTheAdmissionToTheNextRun()
    {
        Damaged(out var lost);
        for (var run = 0; run < 2; run++)
        {
            using var spool = _harness.Open();
            spool.Close();
            using var publisher = _harness.Start(spool);
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        AssertAdmitted(lost);
    }

    [Fact]
    public void Publish_AfterANewStreamHadToBegin_BringsWhatTheOldOneLeftFirst()
    {
        using (var spool = _harness.Open())
        {
            PublisherHarness.Append(spool, 1000);
        }

        // As an earlier version left it: published up to a segment's end, and deleted with everything that the tree could be found by.
        var old = SpoolFolder.Streams(_harness.Folder).Single();
        var segments = SpoolFolder.Segments(old);
        var published = segments[1].FirstSequence - 1;
        File.Delete(segments[0].Path);
        File.Delete(segments[^1].Path);
        Assert.Equal(0, new PublishCursor(published, _kafka.Topic, 0).Write(old));

        using var next = _harness.Open();
        using (var publisher = _harness.Start(next))
        {
            next.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        var messages = _kafka.ConsumeAll();
        var left = segments[^1].FirstSequence - 1 - published;
        Assert.NotEqual(old, next.StreamFolder);
        Assert.Equal((int)left, messages.Count(message => Encoding.ASCII.GetString(message.Message.Key) == Path.GetFileName(old)));
        Assert.Equal((int)left + 2, messages.Count);
        Assert.Equal(segments[^1].FirstSequence - 1, PublishCursor.Read(old)!.PublishedThrough);
    }

    private void Damaged(out ulong lost)
    {
        using (var spool = _harness.Open())
        {
            PublisherHarness.Append(spool, 500);
        }

        var stream = SpoolFolder.Streams(_harness.Folder).Single();
        using var reader = SpoolReader.OpenStream(stream, from: lost = 40);
        Assert.Equal(SpoolRead.Record, reader.Read());
        Assert.True(SpoolFolder.Segments(stream).Count > 1);
        using var file = File.OpenHandle(reader.SegmentPath, FileMode.Open, FileAccess.Write);
        RandomAccess.Write(file, [0xFF], reader.Offset + 100);
    }

    private void AssertAdmitted(ulong lost)
    {
        var gap = Assert.Single(_kafka.ConsumeAll(), static one => TypeOf(one) == "safetyfilter.gap.v1");
        var said = Gap.Parser.ParseFrom(gap.Message.Value);
        Assert.Equal((lost, lost, Gap.Types.Cause.Damage, false), (said.First, said.Last, said.Cause, said.EmptyLeaves));
        Assert.True(File.Exists(Path.Combine(SpoolFolder.Streams(_harness.Folder).Single(), SpoolFolder.Quarantine, said.Evidence)));
    }

    private void SetLeaders(MockKafkaCluster mock, bool exist)
    {
        for (var partition = 0; partition < 4; partition++)
        {
            mock.SetLeader(_kafka.CheckpointTopic, partition, exist);
        }
    }

    private static ulong FirstCheckpoint(Spool spool)
    {
        using var reader = SpoolReader.OpenStream(spool.StreamFolder, follow: true);
        while (reader.Read() == SpoolRead.Record)
        {
            if (reader.Type == RecordType.Checkpoint)
            {
                return reader.Sequence;
            }
        }

        return 0;
    }

    private static string TypeOf(ConsumeResult<byte[], byte[]> message) => Encoding.UTF8.GetString(message.Message.Headers.GetLastBytes("ce_type"));

    private static string Describe(ConsumeResult<byte[], byte[]> message) => string.Join(
        '|',
        message.Message.Headers.Select(static header => $"{header.Key}={Encoding.UTF8.GetString(header.GetValueBytes())}")
            .Append(Convert.ToHexString(message.Message.Key)).Append(Convert.ToHexString(message.Message.Value)));
}
