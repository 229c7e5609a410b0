using System.Diagnostics;
using System.Runtime.InteropServices;
using SafetyFilter.Client;
using SafetyFilter.FunctionalTests.Faults;

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

        await load.UntilAsync(static load => load.Decided > 200);
        await sidecar.KillAsync();
        await load.UntilAsync(static load => load.Local > 50);
        // The same port, as a supervisor would start it.
        settings[1] = ("Listen__Tcp", new Uri(sidecar.Tcp).Authority);
        var warm = client.WarmUpAsync(Cancelled);
        Assert.False(warm.IsCompleted);
        await sidecar.RestartAsync(settings);
        await warm;
        var decided = load.Decided;
        await load.UntilAsync(load => load.Decided > decided + 200);

        await load.StopAsync();
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
        await load.UntilAsync(static load => load.Decided > 200);

        Assert.Equal(0, Kill(sidecar.ProcessId, SigStop));
        try
        {
            // Three rounds: longer than the pings' patience, so that connections are given up and made again meanwhile.
            await load.UntilAsync(static load => load.Local >= 24);
        }
        finally
        {
            _ = Kill(sidecar.ProcessId, SigCont);
        }

        var decided = load.Decided;
        await load.UntilAsync(load => load.Decided > decided + 200);

        await load.StopAsync();
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

        public long Decided => Volatile.Read(ref _decided);

        public long Local => Volatile.Read(ref _local);

        public TimeSpan Longest => TimeSpan.FromTicks(Volatile.Read(ref _longest));

        public static FilterQuery Page()
        {
            var query = new FilterQuery { Surface = CheapPolicy.Surface };
            query.AddCandidate("a");
            query.AddCandidate("b");
            return query;
        }

        public async Task UntilAsync(Func<Load, bool> condition)
        {
            using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(5));
            while (!condition(this))
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
