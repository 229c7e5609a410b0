using System.Text.Json;
using Confluent.Kafka;
using SafetyFilter.Cli;
using SafetyFilter.Ledger;

namespace SafetyFilter.FunctionalTests.Kafka;

public sealed class AuditCommandTests : IDisposable
{
    private readonly KafkaUnderTest _kafka = new();
    private readonly PublisherHarness _harness;

    public AuditCommandTests()
    {
        _harness = new PublisherHarness(_kafka);
        _harness.Kafka.RetainPublishedBytes = 1L << 30;
        using var spool = _harness.Open();
        using var publisher = _harness.Start(spool);
        PublisherHarness.Append(spool, 20);
        spool.Close();
        Assert.True(publisher.Flush(PublisherHarness.Patience), publisher.Trouble);
    }

    public void Dispose()
    {
        _harness.Dispose();
        _kafka.Dispose();
    }

    // A mock broker keeps a member that has left until its session is over, and lets the next one wait for that.
    private static readonly string[] Briefly = ["--kafka-setting", "session.timeout.ms=6000"];

    [Fact]
    public void Cat_FolderAndTopic_PrintTheSameRecords()
    {
        var (folderCode, folder, _) = Run("cat", _harness.Folder);
        var (topicCode, topic, _) = Run(["cat", .. _kafka.Audit]);

        Assert.Equal((0, 0), (folderCode, topicCode));
        Assert.Equal(folder, topic);
        var lines = folder.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(22, lines.Length);
        using var second = JsonDocument.Parse(lines[1]);
        Assert.Equal("decision", second.RootElement.GetProperty("type").GetString());
        Assert.Equal(2, second.RootElement.GetProperty("sequence").GetInt32());
        Assert.Equal(64, second.RootElement.GetProperty("leaf_hash").GetString()!.Length);
        Assert.Equal("request-1-0", second.RootElement.GetProperty("record").GetProperty("request_id").GetString());
    }

    [Fact]
    public void Verify_WholeLedger_SaysSoAndExitsWith0()
    {
        var (code, text, _) = Run("verify", _harness.Folder);
        Assert.Equal(0, code);
        Assert.EndsWith("VERIFIED", text.TrimEnd(), StringComparison.Ordinal);

        (code, text, _) = Run(["verify", "--json", .. _kafka.Audit]);
        Assert.Equal(0, code);
        using var verdict = JsonDocument.Parse(text);
        Assert.True(verdict.RootElement.GetProperty("verified").GetBoolean());
        Assert.Equal(20, verdict.RootElement.GetProperty("decisions").GetInt32());
    }

    [Fact]
    public void Verify_DamagedSegment_NamesThePlaceAndExitsWith1()
    {
        var segment = SpoolFolder.Segments(SpoolFolder.Streams(_harness.Folder).Single())[0].Path;
        using (var file = File.OpenHandle(segment, FileMode.Open, FileAccess.Write))
        {
            // Behind EpochStart, which is as long as its certificate.
            RandomAccess.Write(file, [0xFF], 2500);
        }

        var (code, text, _) = Run("verify", "--json", segment);

        Assert.Equal(1, code);
        using var verdict = JsonDocument.Parse(text);
        Assert.Equal(
            ["Damage", "Gap"],
            verdict.RootElement.GetProperty("findings").EnumerateArray().Select(finding => finding.GetProperty("kind").GetString()));
        Assert.Equal(segment, verdict.RootElement.GetProperty("findings")[0].GetProperty("source").GetString());
    }

    [Fact]
    public void Verify_AGroupsSecondWorker_DoesNotReadAgainWhatTheFirstVerified()
    {
        string[] arguments = ["verify", "--json", .. _kafka.Audit, .. Briefly, "--group", "auditors"];

        var (code, text, error) = Run(arguments);
        Assert.Equal((0, ""), (code, error));
        using var verdict = JsonDocument.Parse(text);
        Assert.Equal(22, verdict.RootElement.GetProperty("records").GetInt32());
        Assert.Single(verdict.RootElement.GetProperty("partitions").GetProperty("verified").EnumerateArray());

        (code, text, error) = Run(arguments);
        Assert.Equal((2, ""), (code, text));
        Assert.Contains("group 'auditors' has read partitions", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Verify_AGroupFromAnOffset_ReadsThePartOfItsPartition()
    {
        var (code, text, error) = Run(
            "verify", "--json", "--topic", _kafka.Topic, "--bootstrap-servers", _kafka.BootstrapServers, "--from", "offset:5", "--to", "offset:9", "--group", "part");

        Assert.True(code == 0, error);
        using var verdict = JsonDocument.Parse(text);
        var stream = Assert.Single(verdict.RootElement.GetProperty("streams").EnumerateArray());
        Assert.Equal((6, 9), (stream.GetProperty("first_sequence").GetInt32(), stream.GetProperty("last_sequence").GetInt32()));
    }

    [Fact]
    public void Verify_FromAnOffset_BeginsInMidStream()
    {
        var partition = _kafka.ConsumeAll()[0].Partition.Value;
        Assert.InRange(partition, 0, 3);

        var (code, text, _) = Run(
            ["verify", "--json", .. _kafka.Audit, "--from", "offset:5", "--to", "offset:9"]);

        Assert.Equal(0, code);
        using var verdict = JsonDocument.Parse(text);
        var stream = Assert.Single(verdict.RootElement.GetProperty("streams").EnumerateArray());
        Assert.Equal((6, 9), (stream.GetProperty("first_sequence").GetInt32(), stream.GetProperty("last_sequence").GetInt32()));
    }

    [Fact]
    public void Verify_SegmentsInAnyOrder_AreReadInTheirOwn()
    {
        var segments = SpoolFolder.Segments(SpoolFolder.Streams(_harness.Folder).Single()).Select(segment => segment.Path).Reverse().ToArray();

        var (code, _, _) = Run(["verify", .. segments]);

        Assert.Equal(0, code);
    }

    [Fact]
    public void Verify_ReceiptsOfAnotherLedger_AreFindings()
    {
        var file = Path.Combine(_harness.Folder, "receipts.jsonl");
        File.WriteAllText(file, $$"""{"stream":"{{Guid.NewGuid():N}}","epoch":1,"sequence":2,"leaf_hash":"{{new string('a', 64)}}"}""");

        var (code, text, _) = Run("verify", _harness.Folder, "--receipts", file);

        Assert.Equal(1, code);
        Assert.Contains("1 receipts: 0 found, 1 not", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Witness_ALedgerWithoutCheckpoints_CosignsNothing()
    {
        var state = Path.Combine(_harness.Folder, "witness");

        var (code, text, _) = Run("witness", _harness.Folder, "--state", state);

        Assert.Equal(0, code);
        Assert.Contains("22 records read, 0 checkpoints cosigned, 0 refused", text, StringComparison.Ordinal);
        Assert.True(File.Exists(Path.Combine(state, "witness.key")));

        (code, text, _) = Run("witness", "--json", _harness.Folder, "--state", state);

        using var told = JsonDocument.Parse(text);
        Assert.Equal((0, 22, 0), (code, told.RootElement.GetProperty("records").GetInt32(), told.RootElement.GetProperty("refusals").GetArrayLength()));
    }

    [Fact]
    public void Audit_TopicWithoutRecords_IsNothingToVerify()
    {
        using var empty = new KafkaUnderTest();

        var (code, output, error) = Run(["verify", .. empty.Audit]);

        Assert.Equal((2, ""), (code, output));
        Assert.Contains("nothing to verify", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Cat_TopicWithAnEmptyMessage_PrintsItAsUnknown()
    {
        using var topic = new KafkaUnderTest();
        using (var producer = new ProducerBuilder<Null, byte[]>(new ProducerConfig(KafkaUnderTest.Client(topic.BootstrapServers))).Build())
        {
            producer.Produce(topic.Topic, new Message<Null, byte[]> { Headers = [] });
            Assert.Equal(0, producer.Flush(PublisherHarness.Patience));
        }

        var (code, output, _) = Run(["cat", .. topic.Audit]);

        Assert.Equal(0, code);
        Assert.Contains("\"unknown\"", output, StringComparison.Ordinal);
    }

    [Fact]
    public void Verify_WrongKafkaSetting_IsAMessageAndExitsWith2()
    {
        var (code, _, error) = Run(
            "verify", "--topic", "t", "--bootstrap-servers", _kafka.BootstrapServers, "--kafka-setting", "dotnet.cancellation.delay.max.ms=soon");

        Assert.Equal(2, code);
        Assert.Contains("dotnet.cancellation.delay.max.ms", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("verify")]
    [InlineData("verify", "/nowhere/at/all")]
    [InlineData("cat", "--topic", "t")]
    [InlineData("cat", "--topic", "t", "--bootstrap-servers", "x", "--from", "yesterday-ish")]
    [InlineData("cat", "/tmp", "--from", "offset:1")]
    [InlineData("verify", "/tmp", "--group", "g")]
    [InlineData("verify", "/tmp", "--identity", "nobody")]
    [InlineData("verify", "/tmp", "--receipts", "/nowhere/at/all")]
    [InlineData("verify", "/tmp", "--checkpoints", "/nowhere/at/all")]
    [InlineData("cat", "--topic", "t", "--bootstrap-servers", "x", "--kafka-setting", "novalue")]
    public void Audit_WrongArguments_SayWhatIsWrongAndExitWith2(params string[] arguments)
    {
        var (code, output, error) = Run(arguments);

        Assert.Equal(2, code);
        Assert.Empty(output);
        Assert.NotEmpty(error);
    }

    private static (int Code, string Output, string Error) Run(params string[] arguments)
    {
        var output = new StringWriter();
        var error = new StringWriter();
        var code = AuditCommand.Create().Parse(arguments).Invoke(new() { Output = output, Error = error });
        return (code, output.ToString(), error.ToString());
    }
}
