using System.Diagnostics;
using System.Globalization;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger.CrashModel;

/// <summary>10,000 losses of power, a million on demand. A failure names its seed: SAFETYFILTER_CRASH_SEED runs it alone.</summary>
public sealed class CrashPointTests(ITestOutputHelper output)
{
    private const int PointsOfOneVolume = 50;

    [Fact]
    public void Open_AfterALossOfPowerAtAnyMoment_HasAllThatWasPromised()
    {
        var memory = Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath();
        var scratch = Directory.CreateDirectory(Path.Combine(memory, $"safetyfilter-crash-{Guid.NewGuid():N}")).FullName;
        var first = int.TryParse(Environment.GetEnvironmentVariable("SAFETYFILTER_CRASH_SEED"), CultureInfo.InvariantCulture, out var named) ? named : 1;
        var volumes = named != 0 ? 1 : LongRun.Count(10_000, 1_000_000) / PointsOfOneVolume;
        var since = Stopwatch.GetTimestamp();
        var points = 0;
        var kills = 0;
        var failures = 0;
        var damaged = 0;
        try
        {
            for (var seed = first; seed < first + volumes; seed++)
            {
                using var volume = new CrashingSpool(seed, scratch);
                volume.Run(PointsOfOneVolume);
                points += volume.CrashPoints;
                kills += volume.Kills;
                failures += volume.FailedSyncs;
                damaged += volume.DamagedImages;
            }
        }
        finally
        {
            SpoolDisk.Model = null;
            Directory.Delete(scratch, recursive: true);
        }

        var seconds = Stopwatch.GetElapsedTime(since).TotalSeconds;
        output.WriteLine($"{points} crash points in {seconds:0.0} s ({points / seconds:0}/s), {kills} kills, {failures} failed calls, {damaged} images with damage");
        Assert.True(points >= volumes * PointsOfOneVolume);
        Assert.True(kills > 0 && failures > 0 && damaged > 0);
    }
}
