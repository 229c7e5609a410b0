using System.Diagnostics;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>Plays a pool of requests against one server, always from the first one on.</summary>
internal static class Load
{
    // Beyond this the rest waits its turn here, still measured from when it was due.
    private const int MostUnderWay = Http2Connection.MostStreams;

    // Calls have a deadline of a second; what has not ended long after it never will.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary>An open loop: requests leave when they are due, whatever the answers do.</summary>
    public static async Task<Slice> PacedAsync(FilterCaller caller, byte[][] requests, double rate, TimeSpan length, CancellationToken stop)
    {
        var slice = new Slice();
        var places = new SemaphoreSlim(MostUnderWay);
        var start = Stopwatch.GetTimestamp();

        // A thread of its own: a pool thread that sleeps would be missed elsewhere.
        await Task.Factory.StartNew(Send, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

        // When all places are free again, nothing is under way.
        var end = Stopwatch.GetTimestamp();
        for (var i = 0; i < MostUnderWay; i++)
        {
            var left = Patience - Stopwatch.GetElapsedTime(end);
            if (!await places.WaitAsync(left > TimeSpan.Zero ? left : TimeSpan.Zero, stop))
            {
                slice.Fail("NoAnswer");
            }
        }

        slice.Elapsed = Stopwatch.GetElapsedTime(start);
        return slice;

        void Send()
        {
            Schedule.WakeThisThreadSharply();
            var schedule = new Schedule(start, rate, length);
            for (var number = 0; number < schedule.Count; number++)
            {
                var due = schedule.Due(number);
                Schedule.SleepUntil(due);
                if (!places.Wait(Patience, stop))
                {
                    slice.Fail("NoAnswer");
                    return;
                }

                if (!Ask(caller, requests[number % requests.Length], due, slice, () => places.Release()))
                {
                    places.Release();
                }
            }
        }
    }

    /// <summary>A closed loop: so many callers, each asking again as soon as it has its answer.</summary>
    public static async Task<Slice> FlatOutAsync(FilterCaller caller, byte[][] requests, int callers, TimeSpan length, CancellationToken stop)
    {
        var slice = new Slice();
        var next = -1;
        var start = Stopwatch.GetTimestamp();
        var ended = Enumerable.Range(0, callers).Select(_ => new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).ToArray();
        foreach (var end in ended)
        {
            AskOn(end);
        }

        var patience = Task.Delay(length + Patience, stop);
        foreach (var end in ended)
        {
            if (await Task.WhenAny(end.Task, patience) != end.Task)
            {
                stop.ThrowIfCancellationRequested();
                slice.Fail("NoAnswer");
            }
        }

        slice.Elapsed = Stopwatch.GetElapsedTime(start);
        return slice;

        void AskOn(TaskCompletionSource end)
        {
            if (Stopwatch.GetElapsedTime(start) >= length || stop.IsCancellationRequested)
            {
                end.SetResult();
                return;
            }

            // The next request leaves from the thread that read this one's answer.
            var number = (uint)Interlocked.Increment(ref next);
            if (!Ask(caller, requests[number % requests.Length], Stopwatch.GetTimestamp(), slice, () => AskOn(end)))
            {
                end.SetResult();
            }
        }
    }

    // False when it could not be sent, which is a failure too; answered is then not called.
    private static bool Ask(FilterCaller caller, byte[] request, long due, Slice slice, Action answered)
    {
        var sent = Stopwatch.GetTimestamp();
        var isSent = caller.Send(request, (reply, status) =>
        {
            if (reply is null)
            {
                slice.Fail(status);
            }
            else
            {
                slice.Add(reply, caller.IsDegraded(reply), Nanos(due, sent), Nanos(due, Stopwatch.GetTimestamp()));
            }

            answered();
        });
        if (!isSent)
        {
            slice.Fail("Closed");
        }

        return isSent;
    }

    private static long Nanos(long from, long to) => (long)Stopwatch.GetElapsedTime(from, to).TotalNanoseconds;
}
