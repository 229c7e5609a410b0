using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace SafetyFilter.Benchmarks;

/// <summary>Tables in Markdown, printed as they come.</summary>
internal sealed class Report(TextWriter output)
{
    private readonly StringBuilder _text = new();

    public string Markdown => _text.ToString();

    public static string Machine =>
        string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessorCount} cores, {RuntimeInformation.FrameworkDescription}, {RuntimeInformation.OSDescription}");

    public void Line(string text = "")
    {
        output.WriteLine(text);
        _text.Append(text).Append('\n');
    }

    public void Table(string[] header, IEnumerable<string[]> rows)
    {
        Line($"| {string.Join(" | ", header)} |");
        Line($"|{string.Concat(Enumerable.Repeat("---|", header.Length))}");
        foreach (var row in rows)
        {
            Line($"| {string.Join(" | ", row)} |");
        }

        Line();
    }

    public static string Number(double value, int decimals = 2) => value.ToString("N" + decimals, CultureInfo.InvariantCulture);

    public static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted.Length == 0 ? double.NaN : (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
