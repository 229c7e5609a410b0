using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Text;
using System.Text.Json;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Cli;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Observability;

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
        Assert.Equal($"{stream}/1/2", headers["ce_id"]);
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
        Assert.Equal(0, again.Notary.Failures);
    }

    [Fact]
    public void Publish_WhenASegmentCannotBeRead_WaitsForItAndLosesNothing()
    {
        using (var spool = _harness.Open())
        {
            PublisherHarness.Append(spool, 1000);
        }

        // Behind the first one, so that the watermark has somewhere to be driven past.
        using var again = _harness.Open();
        var unreadable = SpoolFolder.Segments(again.StreamFolder)[1];
        var aside = unreadable.Path + ".aside";
        File.Move(unreadable.Path, aside);
        File.CreateSymbolicLink(unreadable.Path, unreadable.Path);
        using (var publisher = _harness.Start(again))
        {
            again.Close();
            Assert.True(SpinWait.SpinUntil(
                () => publisher.Trouble?.Contains(unreadable.Path, StringComparison.Ordinal) == true
                    && publisher.PublishedThrough == unreadable.FirstSequence - 1 && publisher.Producers > 1,
                PublisherHarness.Patience));

            File.Move(aside, unreadable.Path, overwrite: true);
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
            Assert.True(SpinWait.SpinUntil(() => publisher.Trouble is null, PublisherHarness.Patience));
        }

        _harness.AssertComplete(again);
    }

    [Fact]
    public void Publish_WhenTheCursorCannotBeWritten_GoesOnAndDeletesNothing()
    {
        using var spool = _harness.Open();
        Directory.CreateDirectory(Path.Combine(spool.StreamFolder, "cursor.json.tmp"));
        using (var publisher = _harness.Start(spool))
        {
            PublisherHarness.Append(spool, 1000);
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
            Assert.True(SpinWait.SpinUntil(() => publisher.CursorFailures > 0, PublisherHarness.Patience));
        }

        Assert.Equal(1UL, SpoolFolder.Segments(spool.StreamFolder)[0].FirstSequence);
        _harness.AssertComplete(spool);
    }

    [Fact]
    public void Publish_ThroughAnOutage_SaysWhenItBeginsAndWhenItEnds()
    {
        var log = new EventLog();
        var mock = _kafka.Mock;
        mock.TakeDown();
        using var spool = _harness.Open();
        using var publisher = new KafkaPublisher(spool, _harness.Kafka, TimeProvider.System, log);
        publisher.Start();
        Assert.True(SpinWait.SpinUntil(() => log.Count(EventIds.PublisherTroubled) == 1, PublisherHarness.Patience));
        Assert.Equal(0, log.Count(EventIds.PublisherResumed));

        mock.BringUp();
        spool.Close();
        Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);

        Assert.True(SpinWait.SpinUntil(() => log.Count(EventIds.PublisherResumed) == log.Count(EventIds.PublisherTroubled), PublisherHarness.Patience));
    }

    [Fact]
    public void OldestUnpublishedAge_WhenTheFirstProducerCameLate_IsForgottenOnceItPublished()
    {
        var mock = _kafka.Mock;
        mock.TakeDown();
        using var spool = _harness.Open(syncMilliseconds: 10_000);
        using var publisher = _harness.Start(spool);
        Assert.True(SpinWait.SpinUntil(() => publisher.OldestUnpublishedAge > TimeSpan.Zero, PublisherHarness.Patience));
        mock.BringUp();
        Assert.True(SpinWait.SpinUntil(() => publisher.PublishedThrough == 1, PublisherHarness.Patience));

        // Not durable yet, so not handed over: only what was remembered could give it an age.
        PublisherHarness.Append(spool, 1);

        Assert.Equal((1UL, TimeSpan.Zero), (publisher.Lag, publisher.OldestUnpublishedAge));
    }

    [Theory]
    [InlineData("security.protocl", "ssl")]
    [InlineData("retry.backoff.ms", "soon")]
    [InlineData("security.protocol", "tls")]
    [InlineData("ssl.ca.location", "/nowhere/ca.pem")]
    [InlineData("sasl.mechanism", "MAGIC")]
    public void Open_WithAWrongProducerSetting_NamesItBeforeAnythingIsWritten(string name, string value)
    {
        // Settings of TLS and SASL are looked at by librdkafka only where they are used.
        _harness.Kafka.Producer["security.protocol"] = "sasl_ssl";
        _harness.Kafka.Producer[name] = value;
        var options = new LedgerOptions { Kafka = _harness.Kafka, Spool = { Folder = Path.Combine(_harness.Folder, "new") } };
        using var meter = new Meter("test");

        var error = Assert.Throws<LedgerException>(
            () => DecisionLedger.Open(options, "test", TimeProvider.System, meter, NullLoggerFactory.Instance));

        Assert.Contains(name, error.Message, StringComparison.Ordinal);
        Assert.Contains("Ledger:Kafka:Producer", error.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(options.Spool.Folder));
    }

    [Fact]
    public void Publish_ARecordOfATypeOfALaterVersion_NamesItsNumber()
    {
        using var spool = _harness.Open();
        using (var publisher = _harness.Start(spool))
        {
            var body = new DecisionRecord
            {
                StreamId = ByteString.CopyFrom(spool.StreamId.ToByteArray(bigEndian: true)),
                Epoch = spool.Epoch,
                TimeUnixNanos = 1,
            }.ToByteArray();
            Assert.Equal(AppendResult.Appended, spool.Append((RecordType)200, body, out _));
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        Assert.Equal("safetyfilter.record-200.v1", Encoding.UTF8.GetString(_kafka.ConsumeAll()[1].Message.Headers.GetLastBytes("ce_type")));
        using var verifier = _harness.Verify();
        Assert.Contains("type 200", Assert.Single(verifier.Findings).Text, StringComparison.Ordinal);
    }

    [Fact]
    public void Verify_WhileThePublisherDeletesWhatItReads_FindsNothing()
    {
        // Nothing is deleted that no checkpoint covers; with fewer than that many new records no other comes.
        const int CheckpointRecords = 100;
        using var spool = _harness.Open(checkpointRecords: CheckpointRecords);
        PublisherHarness.Append(spool, 1000);
        Assert.True(SpinWait.SpinUntil(
            () => spool.LastSequence - spool.Notary.SignedSize < CheckpointRecords && spool.DurableSequence == spool.LastSequence,
            PublisherHarness.Patience));
        using var reader = SpoolReader.OpenStream(spool.StreamFolder, follow: true);
        Assert.Equal(SpoolRead.Record, reader.Read());
        using (var publisher = _harness.Start(spool))
        {
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        using var verifier = new LedgerVerifier();
        verifier.AddRecords(reader, spool.StreamFolder, TestContext.Current.CancellationToken);
        verifier.Finish();

        Assert.True(verifier.IsVerified, string.Join('\n', verifier.Findings));
        Assert.Single(verifier.Notes, note => note.Contains("deleted while this was read", StringComparison.Ordinal));
        Assert.Equal(spool.LastSequence, Assert.Single(verifier.Streams).LastSequence);
    }

    [Theory]
    [InlineData("none", "uncompressed")]
    [InlineData("gzip")]
    [InlineData("snappy")]
    [InlineData("lz4")]
    [InlineData("zstd")]
    public void Publish_Compressed_IsSentSoAndVerifiedByTheAuditorsTool(string compression, string? told = null)
    {
        _harness.Kafka.Compression = compression;
        _harness.Kafka.Linger = TimeSpan.FromMilliseconds(20);
        _harness.Kafka.Producer["debug"] = "msg";
        var log = new EventLog();
        using var spool = _harness.Open(checkpointRecords: 50);
        PublisherHarness.Append(spool, 200);
        using (var publisher = new KafkaPublisher(spool, _harness.Kafka, TimeProvider.System, log))
        {
            publisher.Start();
            spool.Close();
            Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
        }

        var output = new StringWriter();
        var code = AuditCommand.Create().Parse(["verify", "--json", .. _kafka.Audit]).Invoke(new() { Output = output, Error = output });
        Assert.True(code == 0, output.ToString());
        using var verdict = JsonDocument.Parse(output.ToString());
        Assert.Equal(200, verdict.RootElement.GetProperty("decisions").GetInt32());
        Assert.Equal((long)spool.LastSequence, verdict.RootElement.GetProperty("records").GetInt64());

        // What a consumer gets is the same either way; what was on the wire, only librdkafka says.
        Assert.Contains(log.Lines, line => line.Contains("Produce MessageSet", StringComparison.Ordinal) && line.Contains($", {told ?? compression})", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("ssl", "SSL")]
    [InlineData("sasl_plaintext", "SASL")]
    public void Publish_ToABrokerThatSpeaksNoSuchProtocol_IsTroubleInLibrdkafkasWordsAndTheSpoolsRecordsStay(string protocol, string told)
    {
        _ = _kafka.Mock;
        _harness.Kafka.Producer["security.protocol"] = protocol;
        _harness.Kafka.Producer["sasl.mechanism"] = "PLAIN";
        _harness.Kafka.Producer["sasl.username"] = "somebody";
        _harness.Kafka.Producer["sasl.password"] = "secret";
        var log = new EventLog();
        using var spool = _harness.Open();
        using (var publisher = new KafkaPublisher(spool, _harness.Kafka, TimeProvider.System, log))
        {
            publisher.Start();
            PublisherHarness.Append(spool, 20);
            Assert.True(SpinWait.SpinUntil(
                () => publisher.Trouble?.Contains(told, StringComparison.OrdinalIgnoreCase) == true || log.Lines.Any(line => line.Contains(told, StringComparison.Ordinal)),
                PublisherHarness.Patience));
            Assert.True(SpinWait.SpinUntil(() => log.Count(EventIds.PublisherTroubled) > 0, PublisherHarness.Patience));
            Assert.Equal(0UL, publisher.PublishedThrough);
            Assert.DoesNotContain(log.Lines, static line => line.Contains("secret", StringComparison.Ordinal));
        }

        // Corrected, the next one publishes all of it.
        _harness.Kafka.Producer.Remove("security.protocol");
        using var corrected = _harness.Start(spool);
        spool.Close();
        Assert.True(corrected.Flush(PublisherHarness.Patience), corrected.Trouble);
        _harness.AssertComplete(spool);
    }

    [Fact]
    public void ClientSettings_OfTheEnvironment_MayHoldAnything()
    {
        var settings = KafkaUnderTest.Parse("security.protocol=SASL_SSL; sasl.jaas.config=a=b c;;ssl.ca.location=/ca.pem");
        Assert.Equal(3, settings.Count);
        Assert.Equal("a=b c", settings["sasl.jaas.config"]);
        Assert.Equal(("SASL_SSL", "/ca.pem"), (settings["security.protocol"], settings["ssl.ca.location"]));
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
            Enumerable.Range(1, 52).Select(sequence => $"ce_id={stream}/1/{sequence}"),
            lines.Select(line => line.Split(' ')[2].Split(',').Single(header => header.StartsWith("ce_id=", StringComparison.Ordinal))));
    }

    private sealed class EventLog : ILogger
    {
        private readonly ConcurrentQueue<(int Id, string Text)> _events = new();

        public IEnumerable<string> Lines => _events.Select(static one => one.Text);

        public int Count(int id) => _events.Count(one => one.Id == id);

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            _events.Enqueue((eventId.Id, formatter(state, exception)));
    }
}
