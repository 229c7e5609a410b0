namespace SafetyFilter.Scoring;

internal static class BundleLoader
{
    public const string ManifestFile = "manifest.json";

    public static bool TryParseVersion(string text, out Version version)
    {
        version = new Version();
        return false;
    }

    public static LoadResult<ModelBundle> Load(string folder, BundleLimits limits, TimeProvider time) => new(null, []);
}
