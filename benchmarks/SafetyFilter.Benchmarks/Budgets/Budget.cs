using System.Text.Json;
using System.Text.Json.Serialization;

namespace SafetyFilter.Benchmarks.Budgets;

/// <summary>The most that one operation may allocate. A line of <c>budgets.json</c>.</summary>
internal sealed record Budget
{
    private static readonly JsonSerializerOptions Format = new(JsonSerializerDefaults.Web) { UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow };

    /// <summary>Bytes on the calling thread; null when that says nothing.</summary>
    public long? Bytes { get; init; }

    /// <summary>Bytes of the whole process, threads in the background included; null where no other thread works for the operation.</summary>
    public long? ProcessBytes { get; init; }

    /// <summary>Why it is not 0.</summary>
    public string Why { get; init; } = "";

    public static IReadOnlyDictionary<string, Budget> Read(string path) =>
        JsonSerializer.Deserialize<SortedDictionary<string, Budget>>(File.ReadAllText(path), Format)!;

    /// <summary>Every mistake in the budgets, given the names of all that is measured.</summary>
    public static IEnumerable<string> Mistakes(IReadOnlyDictionary<string, Budget> budgets, IReadOnlyCollection<string> measured)
    {
        foreach (var (name, budget) in budgets)
        {
            if (!measured.Contains(name))
            {
                yield return $"budgets.json has a budget for '{name}', and there is no such benchmark. Rename or remove it.";
            }

            if (budget is { Bytes: null, ProcessBytes: null })
            {
                yield return $"budgets.json says neither bytes nor processBytes for '{name}'. Add one.";
            }

            if (budget.Why.Length == 0 && (budget.Bytes > 0 || budget.ProcessBytes > 0))
            {
                yield return $"budgets.json allows '{name}' more than 0 bytes and does not say why. Add \"why\".";
            }
        }

        foreach (var name in measured.Where(name => !budgets.ContainsKey(name)))
        {
            yield return $"Benchmark '{name}' has no budget. Add it to budgets.json.";
        }
    }

    public bool Allows(Allocations reached) => IsWithin(Bytes, reached.Thread) && IsWithin(ProcessBytes, reached.Process);

    // Whole bytes: the runtime's own odd object (a lock that was waited for, a table that grew) is no operation's.
    private static bool IsWithin(long? budget, double reached) => budget is null || Math.Floor(reached) <= budget;
}

/// <summary>What an operation allocated, in bytes: on the calling thread, and in its process.</summary>
internal readonly record struct Allocations(double Thread, double Process);
