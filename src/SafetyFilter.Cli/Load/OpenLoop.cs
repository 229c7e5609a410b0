using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;
using Grpc.Core;
using HdrHistogram;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;

namespace SafetyFilter.Cli.Load;

/// <summary>
/// Sends at a fixed rate whatever the answers do, and measures every answer from the instant at which its request was due:
/// a sidecar that stalls shows in the times of all that would have been asked meanwhile (no coordinated omission).
/// </summary>
internal sealed partial class OpenLoop(LoadOptions options, Ranker ranker)
{
    // Beyond this many unanswered requests the rest waits its turn here, still measured from when it was due.
    private const int MostInFlight = 4_096;

    // The kernel wakes a sleeper some 60 us late; the rest of the wait is spun.
    private const int WakeUpMicros = 80;

    /// <summary>Per connection before the first measured one; recorded by the sidecar like any other request.</summary>
    public const int WarmUpRequests = 30;
    private static readonly TimeSpan WarmUpPatience = TimeSpan.FromSeconds(10);

    private readonly ConcurrentBag<Page> _pages = [];
    private readonly SemaphoreSlim _inFlight = new(MostInFlight);
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private readonly LoadResult _result = new();

    private SurfaceProfile? Surface { get; } = options.Surface is null ? null : SurfaceProfile.Named(options.Surface);

    /// <summary>Sends all requests, waits for the last answer and returns what was seen. Cancelling ends the sending early.</summary>
    public async Task<LoadResult> RunAsync(CancellationToken cancellationToken)
    {
        var clients = new SafetyFilterClient[options.Connections];
        for (var i = 0; i < clients.Length; i++)
        {
            clients[i] = SafetyFilterClient.Connect(
                options.Target,
                // What is measured is the sidecar: no answer of the client's own, and every failure counts.
                new SafetyFilterClientOptions { Deadline = TimeSpan.FromMilliseconds(options.DeadlineMillis), FailMode = LocalFailMode.Throw, MaxRetries = 0 });
        }

        try
        {
            await Task.WhenAll(clients.Select(WarmUpAsync));
            // A thread of its own: a pool thread that sleeps would be missed by the answers.
            await Task.Factory.StartNew(() => Send(clients, cancellationToken), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            // When all places are free again, nothing is under way. Calls end by their deadline.
            for (var i = 0; i < MostInFlight; i++)
            {
                await _inFlight.WaitAsync(CancellationToken.None);
            }

            return _result;
        }
        finally
        {
            foreach (var client in clients)
            {
                client.Dispose();
            }
        }
    }

    /// <summary>Connects and has both programs compile their way through; what comes of it shows in the measured calls.</summary>
    private async Task WarmUpAsync(SafetyFilterClient client)
    {
        var page = new Page();
        for (var number = 0; number < WarmUpRequests; number++)
        {
            ranker.Compose(page, number, Surface, options.Candidates);
            page.Query.Deadline = WarmUpPatience;
            try
            {
                await client.FilterAsync(page.Query);
            }
            catch (RpcException)
            {
                return;
            }
        }
    }

    private void Send(SafetyFilterClient[] clients, CancellationToken cancellationToken)
    {
        var total = (long)Math.Round(options.Rate * options.Seconds);
        var start = Stopwatch.GetTimestamp();
        var ticksPerRequest = Stopwatch.Frequency / options.Rate;
        for (var number = 0L; number < total && !cancellationToken.IsCancellationRequested; number++)
        {
            // Composed in the time before it is due, so that composing is not part of the measurement.
            var page = _pages.TryTake(out var used) ? used : new Page();
            ranker.Compose(page, (int)number, Surface, options.Candidates);
            _inFlight.Wait(CancellationToken.None);
            var due = start + (long)(number * ticksPerRequest);
            WaitUntil(due);
            _ = AskAsync(clients[number % clients.Length], page, due);
        }

        _result.SendTime = Stopwatch.GetElapsedTime(start);
    }

    private async Task AskAsync(SafetyFilterClient client, Page page, long due)
    {
        var late = Stopwatch.GetElapsedTime(due);
        FilterResult? result = null;
        var status = StatusCode.OK;
        try
        {
            result = await client.FilterAsync(page.Query).ConfigureAwait(false);
        }
        catch (RpcException error)
        {
            status = error.StatusCode;
        }

        var latency = Stopwatch.GetElapsedTime(due);
        lock (_gate)
        {
            _result.Add(result, status, latency, late);
        }

        _pages.Add(page);
        _inFlight.Release();
    }

    private static void WaitUntil(long due)
    {
        var micros = (due - Stopwatch.GetTimestamp()) * 1_000_000 / Stopwatch.Frequency;
        if (micros > WakeUpMicros && !OperatingSystem.IsWindows())
        {
            // Thread.Sleep counts in milliseconds, which is the whole latency of an answer.
            var remaining = micros - WakeUpMicros;
            while (remaining > 0)
            {
                var step = Math.Min(remaining, 500_000);
                _ = Sleep((uint)step);
                remaining -= step;
            }
        }

        while (Stopwatch.GetTimestamp() < due)
        {
            Thread.SpinWait(20);
        }
    }

    [LibraryImport("libc", EntryPoint = "usleep")]
    private static partial int Sleep(uint micros);
}

/// <summary>What a run came to. Times in microseconds. Not thread-safe.</summary>
internal sealed class LoadResult
{
    public TimeSpan SendTime { get; set; }

    public long Answered { get; private set; }

    public long Candidates { get; private set; }

    /// <summary>Answers with at least one classifier without a score.</summary>
    public long Degraded { get; private set; }

    public SortedDictionary<string, long> Failures { get; } = new(StringComparer.Ordinal);

    /// <summary>Answered requests, from the instant they were due.</summary>
    public LongHistogram Latency { get; } = new(1, 120_000_000, 3);

    /// <summary>The sidecar's own share of it.</summary>
    public LongHistogram Engine { get; } = new(1, 120_000_000, 3);

    /// <summary>How late this program sent: what of the latency is its own doing.</summary>
    public LongHistogram Late { get; } = new(1, 120_000_000, 3);

    public void Add(FilterResult? result, StatusCode status, TimeSpan latency, TimeSpan late)
    {
        Record(Late, late);
        if (result is null)
        {
            var name = status.ToString();
            Failures[name] = Failures.GetValueOrDefault(name) + 1;
            return;
        }

        Answered++;
        Candidates += result.Count;
        Degraded += result.IsDegraded ? 1 : 0;
        Record(Latency, latency);
        Record(Engine, result.EngineTime);
    }

    private static void Record(LongHistogram histogram, TimeSpan time) =>
        histogram.RecordValue(Math.Clamp((long)time.TotalMicroseconds, 1, histogram.HighestTrackableValue));
}
