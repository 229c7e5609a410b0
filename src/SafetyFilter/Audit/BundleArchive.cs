using System.Security.Cryptography;
using SafetyFilter.Scoring;

namespace SafetyFilter.Audit;

/// <summary>
/// Model bundles by the SHA-256 of their model.onnx, wherever under its folders they lie. They are loaded when first asked for:
/// an archive holds more of them than any decision needs. Thread-safe.
/// </summary>
internal sealed class BundleArchive : IDisposable
{
    // {root}/{sha256}/manifest.json or {root}/{name}/{version}/manifest.json.
    private const int MaxDepth = 3;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, string> _folders = new(StringComparer.Ordinal);
    private readonly Dictionary<string, ModelBundle?> _loaded = new(StringComparer.Ordinal);
    private readonly List<string> _problems = [];

    public int Count => _folders.Count;

    public IReadOnlyList<string> Problems => _problems;

    public void AddFolder(string root)
    {
        var options = new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = MaxDepth, IgnoreInaccessible = true };
        foreach (var manifest in Directory.EnumerateFiles(root, BundleLoader.ManifestFile, options))
        {
            var folder = Path.GetDirectoryName(manifest)!;
            var model = Path.Combine(folder, ManifestReader.ModelFile);
            if (File.Exists(model))
            {
                using var file = File.OpenRead(model);
                _folders.TryAdd(Convert.ToHexStringLower(SHA256.HashData(file)), folder);
            }
        }
    }

    /// <summary>The bundle with that model, or null when there is none or it cannot be loaded (which is then a problem).</summary>
    public ModelBundle? Find(ReadOnlySpan<byte> modelSha256)
    {
        var name = Convert.ToHexStringLower(modelSha256);
        lock (_lock)
        {
            if (_loaded.TryGetValue(name, out var bundle) || !_folders.TryGetValue(name, out var folder))
            {
                return bundle;
            }

            var loaded = BundleLoader.LoadArchived(folder, BundleLimits.Default);
            if (loaded.Value is null)
            {
                _problems.Add(loaded.Report);
            }

            _loaded.Add(name, loaded.Value);
            return loaded.Value;
        }
    }

    public void Dispose()
    {
        foreach (var bundle in _loaded.Values)
        {
            bundle?.Dispose();
        }
    }
}
