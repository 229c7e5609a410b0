using HdrHistogram;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>What a lane did in one slice of the run. Adding is thread-safe; the rest is for afterwards.</summary>
internal sealed class Slice
{
    private const long LongestNanos = 120_000_000_000;
    private const long MillisecondNanos = 1_000_000;

    private readonly Lock _gate = new();

    /// <summary>Nanoseconds from the instant a request was due, or in a closed loop was sent, to its answer.</summary>
    public LongHistogram RoundTrip { get; } = NewHistogram();

    /// <summary>Nanoseconds that the server itself says it took; of the ORT floor, the run.</summary>
    public LongHistogram Engine { get; } = NewHistogram();

    /// <summary>Nanoseconds by which requests were sent late: the load's own doing.</summary>
    public LongHistogram Late { get; } = NewHistogram();

    public long Answered { get; private set; }

    /// <summary>Answers whose engine time is over a millisecond.</summary>
    public long OverMillisecond { get; private set; }

    /// <summary>Requests without an answer by gRPC status, and as "degraded" answers that are not a verdict per candidate, each evaluated.</summary>
    public SortedDictionary<string, long> Faults { get; } = new(StringComparer.Ordinal);

    /// <summary>From the first request to the last answer.</summary>
    public TimeSpan Elapsed { get; set; }

    /// <summary>The server's CPU time in nanoseconds, all of it.</summary>
    public long Cpu { get; set; }

    /// <summary>Nanoseconds in which the server's core had nothing to run.</summary>
    public long CoreIdle { get; set; }

    /// <summary>The CPU time of the load itself, in nanoseconds.</summary>
    public long LoadCpu { get; set; }

    /// <summary>The server's CPU time in nanoseconds per second, just before, with nothing to do.</summary>
    public double IdleCpu { get; set; }

    /// <summary>Null when the server has no such counters.</summary>
    public RuntimeCounters? Runtime { get; set; }

    public double CpuMicros => Cpu / 1_000.0 / Math.Max(1, Answered);

    public double LoadCpuMicros => LoadCpu / 1_000.0 / Math.Max(1, Answered);

    /// <summary>Answers per second.</summary>
    public double Throughput => Answered / Elapsed.TotalSeconds;

    /// <summary>The share of its core that the server used.</summary>
    public double Utilisation => Cpu / (Elapsed.TotalSeconds * 1e9);

    /// <summary>The share of its core that was left.</summary>
    public double IdleShare => Math.Clamp(CoreIdle / (Elapsed.TotalSeconds * 1e9), 0, 1);

    /// <summary>The share of its core that somebody else used.</summary>
    public double OthersShare => Math.Clamp(1 - Utilisation - IdleShare, 0, 1);

    public static LongHistogram NewHistogram() => new(1, LongestNanos, 3);

    public void Add(FilterReply reply, bool degraded, long lateNanos, long roundTripNanos)
    {
        lock (_gate)
        {
            Answered++;
            Record(Late, lateNanos);
            Record(RoundTrip, roundTripNanos);
            if (degraded)
            {
                Count("degraded");
            }

            if (reply.EngineMicros > 0)
            {
                AddEngine(reply.EngineMicros * 1_000L);
            }
        }
    }

    public void AddRun(long nanos)
    {
        Answered++;
        AddEngine(nanos);
    }

    public void Fail(string status)
    {
        lock (_gate)
        {
            Count(status);
        }
    }

    private void Count(string fault) => Faults[fault] = Faults.GetValueOrDefault(fault) + 1;

    private void AddEngine(long nanos)
    {
        Record(Engine, nanos);
        if (nanos > MillisecondNanos)
        {
            OverMillisecond++;
        }
    }

    private static void Record(LongHistogram histogram, long nanos) => histogram.RecordValue(Math.Clamp(nanos, 1, LongestNanos));
}
