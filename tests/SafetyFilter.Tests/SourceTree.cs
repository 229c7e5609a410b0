namespace SafetyFilter.Tests;

/// <summary>The checkout that the tests were built from.</summary>
internal static class SourceTree
{
    public static string Root { get; } = Find();

    private static string Find()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "SafetyFilter.sln")))
            {
                return folder.FullName;
            }
        }

        throw new InvalidOperationException($"No SafetyFilter.sln above '{AppContext.BaseDirectory}': run the tests from their build folder in a checkout.");
    }
}
