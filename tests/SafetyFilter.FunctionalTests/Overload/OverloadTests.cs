using System.Diagnostics;
using System.Globalization;
using SafetyFilter.Cli.Load;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.FunctionalTests.BadInput;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.Tests;

namespace SafetyFilter.FunctionalTests.Overload;

/// <summary>Load comes from an open loop, which does not wait for answers before it sends more.</summary>
public sealed class OverloadTests
{
    // One place of 10 ms each: 100 requests a second at most, whatever else the machine does.
    private const double Capacity = 100;

    [Fact]
    public async Task Filter_ThreeTimesWhatItCanDo_AnswersAsManyAsAtItsPeakAndRefusesTheRest()
    {
        var seconds = LongRun.Count(3, 30);
        await using var sidecar = await SidecarProcess.StartAsync(
            ("Admission__Places", "1"), ("Admission__MaxWait", "00:00:00.050"),
            ("Chaos__Enabled", "true"), ("Chaos__Bundles__text-safety__Latency", "00:00:00.010"), ("Chaos__Bundles__text-safety__LatencyRate", "1"));
        var ranker = new Ranker(Catalogue.Load(dataFolder: null, seed: 1), seed: 1);
        double peak = 0;
        double overloaded = 0;
        long first = 0;
        long last = 0;
        for (var round = 0; round < 2; round++)
        {
            peak += (await LoadAsync(Capacity)).Answered;
            var busy = await LoadAsync(3 * Capacity);
            overloaded += busy.Answered;
            Assert.Equal(["ResourceExhausted"], busy.Failures.Keys);
            last = ResidentBytes(sidecar.ProcessId);
            first = first == 0 ? last : first;
        }

        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"Answered {peak / seconds / 2:0.0}/s at capacity, {overloaded / seconds / 2:0.0}/s at three times it; {first >> 20} then {last >> 20} MiB."));
        Assert.True(overloaded >= 0.9 * peak, $"{overloaded} requests were answered at three times the capacity, {peak} at the capacity.");
        Assert.True(last <= first + (64 << 20), $"Memory grew from {first >> 20} to {last >> 20} MiB between two times of the same overload.");
        Assert.Equal(0, (await Scraped.FromAsync(sidecar)).Value("safetyfilter_breaker_transitions"));

        Task<LoadResult> LoadAsync(double rate) => new OpenLoop(
            new LoadOptions("unix:" + sidecar.UnixSocket, "for-you", Candidates: 2, rate, seconds, Connections: 2, DeadlineMillis: 30_000, DataFolder: null, Seed: 1),
            ranker).RunAsync(TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task Filter_FloodOfBadRequests_OpensNoBreakerFailsNoGoodCallerAndKeepsMemoryFlat()
    {
        await using var sidecar = await SidecarProcess.StartAsync(("Limits__MaxMessageBytes", BadRequest.MessageLimit.ToString(CultureInfo.InvariantCulture)));
        using var attackers = new Attackers(sidecar.Tcp);
        using var good = Wire.Unix(sidecar.UnixSocket);
        byte[][] bad = [.. BadRequest.All.Values.Where(static request => request.Bytes.Length < 4096).Select(static request => request.Bytes)];
        var refused = 0;
        var isOver = false;
        var since = Stopwatch.GetTimestamp();
        // More at once than one connection carries.
        var attacks = Enumerable.Range(0, 128).Select(attacker => Task.Run(async () =>
        {
            for (var i = attacker; !Volatile.Read(ref isOver); i++)
            {
                Assert.NotEqual("0", await attackers.StatusAsync(bad[i % bad.Length]));
                Interlocked.Increment(ref refused);
            }
        })).ToList();

        var wanted = LongRun.Count(2_000, 600_000);
        var calls = 0;
        long early = 0;
        while (Volatile.Read(ref refused) < wanted)
        {
            var response = await good.FilterAsync(BadRequest.Good());
            Assert.Empty(response.Degradations);
            calls++;
            early = early == 0 && Volatile.Read(ref refused) > wanted / 4 ? ResidentBytes(sidecar.ProcessId) : early;
        }

        var late = ResidentBytes(sidecar.ProcessId);
        Volatile.Write(ref isOver, true);
        var seconds = Stopwatch.GetElapsedTime(since).TotalSeconds;
        await Task.WhenAll(attacks);
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{refused / seconds:0} bad requests/s for {seconds:0.0} s, {calls} good ones meanwhile; {early >> 20} then {late >> 20} MiB."));
        if (LongRun.IsAskedFor)
        {
            // The short form refuses too few for what they leak to be told from the growth after a start.
            Assert.NotEqual(0, early);
            Assert.True(late <= early + (64 << 20), $"Memory grew from {early >> 20} MiB after a quarter of the attack to {late >> 20} at its end.");
        }

        Assert.Equal(0, (await Scraped.FromAsync(sidecar)).Value("safetyfilter_breaker_transitions"));
    }

    private static long ResidentBytes(int process)
    {
        var line = File.ReadLines($"/proc/{process}/status").Single(static line => line.StartsWith("VmRSS:", StringComparison.Ordinal));
        return long.Parse(line.AsSpan("VmRSS:".Length).Trim().TrimEnd(" kB"), CultureInfo.InvariantCulture) * 1024;
    }
}
