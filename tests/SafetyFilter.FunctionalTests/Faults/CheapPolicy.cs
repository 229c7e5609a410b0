namespace SafetyFilter.FunctionalTests.Faults;

/// <summary>A policy that costs as little as one can, for tests of the ledger: one rule, no classifier.</summary>
internal static class CheapPolicy
{
    public const string Surface = "cheap";

    /// <summary>Writes it, and returns the setting.</summary>
    public static (string Key, string Value) Write(string folder)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "cheap.yaml"), $$"""
            policy: cheap
            owner: test
            surfaces: [{{Surface}}]
            purposes: [recommendation]
            match: strongest
            budget_us: 1000000
            classifiers: {}
            rules:
              - id: label-in-germany
                when: { viewer: territory, in: [DE] }
                action: { label: test }
                reason: TEST
                severity: low
            """);
        return ("Policies__Folder", folder);
    }
}
