namespace SafetyFilter.Policy;

/// <summary>"Did you mean": the nearest of the known names, if it is near enough to be a slip.</summary>
internal static class Suggestion
{
    /// <summary>" Did you mean 'x'?"-style remedy, or the list of what there is.</summary>
    public static string For(string written, IReadOnlyCollection<string> known)
    {
        var closest = Closest(written, known);
        return closest is not null ? $"Did you mean '{closest}'?"
            : known.Count == 0 ? "There are none."
            : $"Use one of: {string.Join(", ", known.Order(StringComparer.Ordinal))}.";
    }

    public static string? Closest(string written, IEnumerable<string> known)
    {
        // A third of the letters may differ: 'ruls' is 'rules', but 'foo' is nothing.
        var limit = Math.Max(1, written.Length / 3);
        string? best = null;
        foreach (var name in known.Order(StringComparer.Ordinal))
        {
            var distance = Distance(written.ToLowerInvariant(), name.ToLowerInvariant());
            if (distance <= limit)
            {
                limit = distance - 1;
                best = name;
            }
        }

        return best;
    }

    // Optimal string alignment: insertions, deletions, replacements and swapped neighbours count one each.
    private static int Distance(string a, string b)
    {
        var before = new int[b.Length + 1];
        var last = new int[b.Length + 1];
        var row = new int[b.Length + 1];
        for (var j = 0; j <= b.Length; j++)
        {
            last[j] = j;
        }

        for (var i = 1; i <= a.Length; i++)
        {
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var change = a[i - 1] == b[j - 1] ? 0 : 1;
                row[j] = Math.Min(Math.Min(last[j] + 1, row[j - 1] + 1), last[j - 1] + change);
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                {
                    row[j] = Math.Min(row[j], before[j - 2] + 1);
                }
            }

            (before, last, row) = (last, row, before);
        }

        return last[b.Length];
    }
}
