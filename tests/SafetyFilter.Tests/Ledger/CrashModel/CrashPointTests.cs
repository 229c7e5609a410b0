using System.Diagnostics;
using System.Globalization;

namespace SafetyFilter.Tests.Ledger.CrashModel;

/// <summary>10,000 losses of power, a million on demand. A failure names its seed: SAFETYFILTER_CRASH_SEED runs it alone.</summary>
public sealed class CrashPointTests(ITestOutputHelper output)
{
    private const int PointsOfOneVolume = 50;

    [Theory]
    [InlineData(1384)] // A rewrite of a condemned segment fails and is tried again.
    [InlineData(11147)] // Reading begins at an EpochStart behind deleted segments.
    public void Open_AVolumeOfRareLosses_HasAllThatWasPromised(int seed)
    {
        var scratch = Scratch();
        try
        {
            using var volume = new CrashingSpool(seed, scratch);
            volume.Run(PointsOfOneVolume);
            Assert.True(volume.CrashPoints >= PointsOfOneVolume);
        }
        finally
        {
            Directory.Delete(scratch, recursive: true);
        }
    }

    [Fact]
    public void Open_AfterALossOfPowerAtAnyMoment_HasAllThatWasPromised()
    {
        var scratch = Scratch();
        var first = int.TryParse(Environment.GetEnvironmentVariable("SAFETYFILTER_CRASH_SEED"), CultureInfo.InvariantCulture, out var named) ? named : 1;
        var volumes = named != 0 ? 1 : LongRun.Count(10_000, 1_000_000) / PointsOfOneVolume;
        var since = Stopwatch.GetTimestamp();
        var points = 0;
        var kills = 0;
        var failures = 0;
        var damaged = 0;
        try
        {
            // Each volume is a matter of one thread.
            Parallel.For(first, first + volumes, new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount }, seed =>
            {
                using var volume = new CrashingSpool(seed, scratch);
                volume.Run(PointsOfOneVolume);
                Interlocked.Add(ref points, volume.CrashPoints);
                Interlocked.Add(ref kills, volume.Kills);
                Interlocked.Add(ref failures, volume.FailedSyncs);
                Interlocked.Add(ref damaged, volume.DamagedImages);
            });
        }
        catch (AggregateException broken)
        {
            throw broken.InnerExceptions[0];
        }
        finally
        {
            Directory.Delete(scratch, recursive: true);
        }

        var seconds = Stopwatch.GetElapsedTime(since).TotalSeconds;
        output.WriteLine($"{points} crash points in {seconds:0.0} s ({points / seconds:0}/s), {kills} kills, {failures} failed calls, {damaged} images with damage");
        Assert.True(points >= volumes * PointsOfOneVolume);
        Assert.True(volumes == 1 || (kills > 0 && failures > 0 && damaged > 0));
    }

    private static string Scratch()
    {
        var memory = Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath();
        return Directory.CreateDirectory(Path.Combine(memory, $"safetyfilter-crash-{Guid.NewGuid():N}")).FullName;
    }
}
