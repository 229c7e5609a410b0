using System.Globalization;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>What a sidecar's Prometheus endpoint said.</summary>
internal sealed class Scraped(string text)
{
    public string Text => text;

    public static async Task<Scraped> FromAsync(SidecarProcess sidecar)
    {
        using var http = new HttpClient();
        return new Scraped(await http.GetStringAsync(sidecar.Metrics, TestContext.Current.CancellationToken));
    }

    /// <summary>The value of the one series whose name begins so (exporters add units and _total) and that has these labels; 0 when there is none.</summary>
    public double Value(string name, params string[] labels)
    {
        var lines = text.Split('\n').Where(
            line => line.StartsWith(name, StringComparison.Ordinal) && Array.TrueForAll(labels, label => line.Contains(label, StringComparison.Ordinal))).ToList();
        Assert.InRange(lines.Count, 0, 1);

        // name{labels} value timestamp
        return lines.Count == 0 ? 0 : double.Parse(lines[0][(lines[0].LastIndexOf('}') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], CultureInfo.InvariantCulture);
    }
}
