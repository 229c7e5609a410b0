using System.Diagnostics;
using System.Runtime.InteropServices;
using SafetyFilter.Client;
using SafetyFilter.FunctionalTests.Faults;
using SafetyFilter.Tests;

namespace SafetyFilter.FunctionalTests.Client;

/// <summary>Real sidecars killed, stopped and started again under a client that nobody tells.</summary>
public sealed partial class LostSidecarTests : IDisposable
{
    private const int SigCont = 18;
    private const int SigStop = 19;

    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(1);

    // What a machine that builds and tests at the same time may add; the answer itself comes at the deadline.
    private static readonly TimeSpan Margin = TimeSpan.FromSeconds(5);

    private readonly DirectoryInfo _policies = Directory.CreateTempSubdirectory("sf-lost-");

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    private static SafetyFilterClientOptions Options => new() { Deadline = Deadline };

    public void Dispose() => _policies.Delete(recursive: true);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task FilterAsync_SidecarKilledUnderLoad_EveryCallIsAnsweredInTimeAndRealVerdictsComeBackWithANewSidecar(bool unix)
    {
        var settings = new[] { CheapPolicy.Write(_policies.FullName), ("Listen__Tcp", "127.0.0.1:0") };
        await using var sidecar = await SidecarProcess.StartAsync(settings);
        using var client = unix ? sidecar.Client(Options) : sidecar.TcpClient(Options);
        await client.WarmUpAsync(Cancelled);
        var load = new Load(client, callers: 8);

        await load.MoreAsync(decided: 200);
        // The same port, as a supervisor would start it.
        settings[1] = ("Listen__Tcp", new Uri(sidecar.Tcp).Authority);
        for (var kill = 0; kill < LongRun.Count(1, 10); kill++)
        {
            await sidecar.KillAsync();
            await load.MoreAsync(local: 50);
            var warm = client.WarmUpAsync(Cancelled);
            Assert.False(warm.IsCompleted);
            await sidecar.RestartAsync(settings);
            await warm;
            await load.MoreAsync(decided: 200);
        }

        await load.StopAsync();
        load.Tell();
        Assert.True(load.Longest < Deadline + Margin, $"a call took {load.Longest}");
        Assert.False((await client.FilterAsync(Load.Page(), Cancelled)).IsLocal);
        Assert.Equal(0, await sidecar.StopAsync());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task FilterAsync_SidecarHungUnderLoad_CostsItsDeadlineAndNoMoreAndRecoversByItself(bool unix)
    {
        await using var sidecar = await SidecarProcess.StartAsync(CheapPolicy.Write(_policies.FullName));
        // Awake again, it finds requests that were given up half read, which gRPC's server logs as its own error.
        sidecar.ExpectedErrors.Add(6);
        using var client = unix ? sidecar.Client(Options) : sidecar.TcpClient(Options);
        await client.WarmUpAsync(Cancelled);
        var load = new Load(client, callers: 8);
        await load.MoreAsync(decided: 200);

        for (var hang = 0; hang < LongRun.Count(1, 10); hang++)
        {
            Assert.Equal(0, Kill(sidecar.ProcessId, SigStop));
            try
            {
                // Three times each caller: longer than the pings' patience, so that connections are given up and made again meanwhile.
                await load.MoreAsync(local: 24);
            }
            finally
            {
                _ = Kill(sidecar.ProcessId, SigCont);
            }

            await load.MoreAsync(decided: 200);
        }

        await load.StopAsync();
        load.Tell();
        Assert.True(load.Longest < Deadline + Margin, $"a call took {load.Longest}");
        Assert.Equal(0, await sidecar.StopAsync());
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int pid, int signal);

    /// <summary>Callers that ask for one page after another; a local answer must be closed, and nothing may throw.</summary>
    private sealed class Load
    {
        private readonly CancellationTokenSource _stop = CancellationTokenSource.CreateLinkedTokenSource(Cancelled);
        private readonly SafetyFilterClient _client;
        private readonly Task _running;
        private long _decided;
        private long _local;
        private long _longest;

        public Load(SafetyFilterClient client, int callers)
        {
            _client = client;
            _running = Task.WhenAll(Enumerable.Range(0, callers).Select(_ => Task.Run(CallAsync, Cancelled)));
        }

        private long Decided => Volatile.Read(ref _decided);

        private long Local => Volatile.Read(ref _local);

        public TimeSpan Longest => TimeSpan.FromTicks(Volatile.Read(ref _longest));

        public static FilterQuery Page()
        {
            var query = new FilterQuery { Surface = CheapPolicy.Surface };
            query.AddCandidate("a");
            query.AddCandidate("b");
            return query;
        }

        public void Tell() => TestContext.Current.TestOutputHelper?.WriteLine(
            $"{Decided} decided, {Local} answered locally; the longest call took {Longest.TotalMilliseconds:0} ms.");

        /// <summary>Waits until so many more were decided by a sidecar and answered by the client.</summary>
        public async Task MoreAsync(long decided = 0, long local = 0)
        {
            (decided, local) = (decided + Decided, local + Local);
            using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(5));
            while (Decided < decided || Local < local)
            {
                Assert.False(_running.IsCompleted, _running.Exception?.ToString());
                await timer.WaitForNextTickAsync(Cancelled);
            }
        }

        public async Task StopAsync()
        {
            await _stop.CancelAsync();
            await _running;
            _stop.Dispose();
        }

        private async Task CallAsync()
        {
            var query = Page();
            while (!_stop.IsCancellationRequested)
            {
                var since = Stopwatch.GetTimestamp();
                var result = await _client.FilterAsync(query, Cancelled);
                Longer(Stopwatch.GetElapsedTime(since).Ticks);
                Assert.Equal(2, result.Count);
                if (result.IsLocal)
                {
                    Assert.Equal((FilterAction.Block, VerdictBasis.FailedClosed), (result[1].Action, result[1].Basis));
                    Interlocked.Increment(ref _local);
                }
                else
                {
                    Assert.Equal(VerdictBasis.Evaluated, result[1].Basis);
                    Interlocked.Increment(ref _decided);
                }
            }
        }

        private void Longer(long ticks)
        {
            var longest = Volatile.Read(ref _longest);
            while (ticks > longest)
            {
                var seen = Interlocked.CompareExchange(ref _longest, ticks, longest);
                if (seen == longest)
                {
                    return;
                }

                longest = seen;
            }
        }
    }
}
