using System.Diagnostics;

namespace SafetyFilter.FunctionalTests.Kafka;

/// <summary>Debian's kcat: a consumer that shares no code with this project.</summary>
internal static class Kcat
{
    public static async Task<List<string>> ReadAsync(string bootstrapServers, string topic, string format)
    {
        var folders = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        var path = folders.Select(static folder => Path.Combine(folder, "kcat")).FirstOrDefault(File.Exists);
        Assert.SkipWhen(path is null, "kcat is not installed (apt-get install kcat).");
        var start = new ProcessStartInfo(path!, ["-C", "-q", "-e", "-b", bootstrapServers, "-t", topic, "-f", format, .. KafkaUnderTest.Settings.SelectMany(static setting => new[] { "-X", $"{setting.Key}={setting.Value}" })])
        {
            RedirectStandardOutput = true,
            UseShellExecute = false,
        };
        using var process = Process.Start(start)!;
        var output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(0, process.ExitCode);
        return [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries)];
    }
}
