using System.Diagnostics;
using Grpc.Core;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>Plays a pool of requests against one server, always from the first one on.</summary>
internal static class Load
{
    // Beyond this the rest waits its turn here, still measured from when it was due.
    private const int MostUnderWay = 512;

    /// <summary>An open loop: requests leave when they are due, whatever the answers do.</summary>
    public static async Task<Slice> PacedAsync(FilterCaller caller, byte[][] requests, double rate, TimeSpan length, CancellationToken stop)
    {
        var slice = new Slice();
        using var underWay = new SemaphoreSlim(MostUnderWay);
        var start = Stopwatch.GetTimestamp();

        // A thread of its own: a pool thread that sleeps would be missed by the answers.
        await Task.Factory.StartNew(
            () =>
            {
                Schedule.WakeThisThreadSharply();
                var schedule = new Schedule(start, rate, length);
                for (var number = 0; number < schedule.Count && !stop.IsCancellationRequested; number++)
                {
                    Schedule.SleepUntil(schedule.Due(number));
                    underWay.Wait(CancellationToken.None);
                    _ = AskAsync(number, schedule.Due(number));
                }
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);

        // When all places are free again, nothing is under way. Calls end by their deadline.
        for (var i = 0; i < MostUnderWay; i++)
        {
            await underWay.WaitAsync(CancellationToken.None);
        }

        slice.Elapsed = Stopwatch.GetElapsedTime(start);
        stop.ThrowIfCancellationRequested();
        return slice;

        async Task AskAsync(int number, long due)
        {
            await AskOnceAsync(caller, requests[number % requests.Length], due, slice).ConfigureAwait(false);
            underWay.Release();
        }
    }

    /// <summary>A closed loop: so many callers, each asking again as soon as it has its answer.</summary>
    public static async Task<Slice> FlatOutAsync(FilterCaller caller, byte[][] requests, int callers, TimeSpan length, CancellationToken stop)
    {
        var slice = new Slice();
        var next = -1;
        var start = Stopwatch.GetTimestamp();
        await Task.WhenAll(Enumerable.Range(0, callers).Select(_ => Task.Run(AskOnAndOnAsync, CancellationToken.None)));
        slice.Elapsed = Stopwatch.GetElapsedTime(start);
        stop.ThrowIfCancellationRequested();
        return slice;

        async Task AskOnAndOnAsync()
        {
            while (Stopwatch.GetElapsedTime(start) < length && !stop.IsCancellationRequested)
            {
                var number = (uint)Interlocked.Increment(ref next);
                await AskOnceAsync(caller, requests[number % requests.Length], Stopwatch.GetTimestamp(), slice).ConfigureAwait(false);
            }
        }
    }

    private static async ValueTask AskOnceAsync(FilterCaller caller, byte[] request, long due, Slice slice)
    {
        var sent = Stopwatch.GetTimestamp();
        try
        {
            var reply = await caller.AskAsync(request).ConfigureAwait(false);
            slice.Add(reply, Nanos(due, sent), Nanos(due, Stopwatch.GetTimestamp()));
        }
        catch (RpcException error)
        {
            slice.Fail(error.StatusCode.ToString());
        }
    }

    private static long Nanos(long from, long to) => (long)Stopwatch.GetElapsedTime(from, to).TotalNanoseconds;
}
