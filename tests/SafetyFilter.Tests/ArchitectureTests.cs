using System.Text.RegularExpressions;

namespace SafetyFilter.Tests;

/// <summary>Holds the arrows between the rooms: who may know whom.</summary>
public sealed partial class ArchitectureTests
{
    private static readonly Dictionary<string, string[]> MayUse = new(StringComparer.Ordinal)
    {
        ["Decisions"] = [],
        ["Observability"] = ["Decisions"],
        ["Scoring"] = ["Decisions", "Observability"],
        ["Policy"] = ["Decisions", "Observability"],
        ["Breaker"] = ["Decisions", "Observability", "Scoring"],
        ["Admission"] = ["Decisions", "Observability"],
        ["Ledger"] = ["Decisions", "Observability", "Lineage"],
        ["Filtering"] = ["Decisions", "Observability", "Scoring", "Policy", "Breaker", "Ledger", "Lineage"],
        ["Audit"] = ["Decisions", "Observability", "Scoring", "Policy", "Ledger", "Filtering", "Lineage"],
    };

    [Fact]
    public void Rooms_Core_UseOnlyWhatIsBelowThem()
    {
        var core = Path.Combine(SourceTree.Root, "src", "SafetyFilter");
        var wrong = new List<string>();
        foreach (var file in Directory.EnumerateFiles(core, "*.cs", SearchOption.AllDirectories))
        {
            var room = Path.GetRelativePath(core, file).Split(Path.DirectorySeparatorChar)[0];
            if (!MayUse.TryGetValue(room, out var allowed))
            {
                continue;
            }

            var code = string.Join('\n', File.ReadLines(file).Where(static line => !line.TrimStart().StartsWith("//", StringComparison.Ordinal)));
            foreach (Match match in RoomReference().Matches(code))
            {
                var used = match.Groups["room"].Value;
                if (used != room && !allowed.Contains(used))
                {
                    wrong.Add($"{Path.GetRelativePath(core, file)} uses {used}");
                }
            }
        }

        Assert.Empty(wrong);
    }

    [Fact]
    public void Core_References_NoAspNetCore() =>
        Assert.DoesNotContain(
            typeof(SafetyFilter.Filtering.FilterEngine).Assembly.GetReferencedAssemblies(),
            static reference => reference.Name!.StartsWith("Microsoft.AspNetCore", StringComparison.Ordinal));

    [GeneratedRegex(@"\bSafetyFilter\.(?<room>[A-Z]\w+)\b", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 5000)]
    private static partial Regex RoomReference();
}
