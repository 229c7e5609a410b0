using System.Diagnostics;
using SafetyFilter.FunctionalTests.Kafka;
using SafetyFilter.Ledger;

namespace SafetyFilter.Benchmarks.Ledger;

/// <summary>Brokers go away while records come in at a steady rate, and come back while they keep coming: how fast is the backlog gone?</summary>
internal static class DrainFigures
{
    private const string Topic = "benchmark.decisions";
    private const int RatePerSecond = 2_000;
    private const int RecordBytes = 1_000;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    public static void Measure(Report report, int scale)
    {
        var outage = TimeSpan.FromSeconds(30.0 / scale);
        using var cluster = new MockKafkaCluster();
        cluster.CreateTopic(Topic, 1);
        var folder = Directory.CreateTempSubdirectory("safetyfilter-bench-");
        try
        {
            using var spool = Spool.Open(new SpoolOptions { Folder = folder.FullName }, "benchmark", TimeProvider.System, publishes: true);
            var options = new KafkaOptions { BootstrapServers = cluster.BootstrapServers, Topic = Topic };
            using var publisher = new KafkaPublisher(spool, options, TimeProvider.System);
            publisher.Start();
            var running = true;
            var producer = new Thread(() => Produce(spool, () => Volatile.Read(ref running)));
            producer.Start();
            Wait(TimeSpan.FromSeconds(5.0 / scale));

            cluster.TakeDown();
            Wait(outage);
            cluster.BringUp();

            // librdkafka's reconnect pause is not the drain: the clock starts with the first record that moves.
            var (stuckAt, backlog) = (publisher.PublishedThrough, publisher.Lag);
            SpinWait.SpinUntil(() => publisher.PublishedThrough > stuckAt, Patience);
            var start = Stopwatch.GetTimestamp();
            var from = publisher.PublishedThrough;
            SpinWait.SpinUntil(() => publisher.Lag < RatePerSecond / 10, Patience);
            var rate = (publisher.PublishedThrough - from) / Stopwatch.GetElapsedTime(start).TotalSeconds;
            Volatile.Write(ref running, false);
            producer.Join();

            report.Line($"## Drain after an outage ({Report.Machine})");
            report.Line();
            report.Table(
                ["live records/s", "record bytes", "outage s", "backlog, records", "drain records/s (live ones meanwhile included)", "ratio to live"],
                [[
                    Report.Number(RatePerSecond, 0), Report.Number(RecordBytes, 0), Report.Number(outage.TotalSeconds, 0), Report.Number(backlog, 0),
                    Report.Number(rate, 0), Report.Number(rate / RatePerSecond, 1),
                ]]);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static void Produce(Spool spool, Func<bool> running)
    {
        var body = Records.Body(spool, RecordBytes);
        var start = Stopwatch.GetTimestamp();
        for (long sent = 0; running();)
        {
            var due = (long)(Stopwatch.GetElapsedTime(start).TotalSeconds * RatePerSecond);
            for (; sent < due; sent++)
            {
                if (spool.Append(RecordType.Decision, body, out _) != AppendResult.Appended)
                {
                    throw new InvalidOperationException($"The spool took no record: {spool.Trouble}");
                }
            }

            Wait(TimeSpan.FromMilliseconds(1));
        }
    }

    private static void Wait(TimeSpan time) => Thread.Sleep(time);
}
