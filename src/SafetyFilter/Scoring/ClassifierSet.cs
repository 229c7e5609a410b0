using System.Collections.Frozen;
using System.Collections.Immutable;

namespace SafetyFilter.Scoring;

/// <summary>Where a classifier's score comes from: a bundle of the set and one of the bundle's classifiers.</summary>
internal readonly record struct ClassifierAddress(int Bundle, int Output);

/// <summary>All bundles that serve, found by folder scan. Immutable; it owns its bundles.</summary>
internal sealed class ClassifierSet : IDisposable
{
    private readonly FrozenDictionary<string, ClassifierAddress> _addresses;

    /// <summary>Takes the bundles over. Their names must differ.</summary>
    public ClassifierSet(ImmutableArray<ModelBundle> bundles)
    {
        Bundles = bundles;
        var addresses = new Dictionary<string, ClassifierAddress>(StringComparer.Ordinal);
        for (var bundle = 0; bundle < bundles.Length; bundle++)
        {
            for (var output = 0; output < bundles[bundle].Classifiers.Length; output++)
            {
                addresses.Add(bundles[bundle].Classifiers[output], new ClassifierAddress(bundle, output));
            }
        }

        _addresses = addresses.ToFrozenDictionary(StringComparer.Ordinal);
    }

    /// <summary>In the order of their names.</summary>
    public ImmutableArray<ModelBundle> Bundles { get; }

    /// <summary>All classifiers, bundle by bundle in output order.</summary>
    public IEnumerable<string> Classifiers => Bundles.SelectMany(bundle => bundle.Classifiers);

    public bool TryFind(string classifier, out ClassifierAddress address) => _addresses.TryGetValue(classifier, out address);

    /// <summary>
    /// Loads the highest version of every bundle under <c>root/name/version/manifest.json</c>. If one is refused, the whole set
    /// is: falling back to an older version by itself would serve a model that somebody had replaced, unnoticed.
    /// </summary>
    public static LoadResult<ClassifierSet> Load(string root, BundleLimits limits, TimeProvider time)
    {
        var errors = ImmutableArray.CreateBuilder<BundleError>();
        var bundles = ImmutableArray.CreateBuilder<ModelBundle>();
        foreach (var folder in NewestVersions(root, errors))
        {
            var loaded = BundleLoader.Load(folder, limits, time);
            errors.AddRange(loaded.Errors);
            if (loaded.Value is { } bundle)
            {
                bundles.Add(bundle);
            }
        }

        if (bundles.Count == 0 && errors.Count == 0)
        {
            errors.Add(new BundleError("", "", "", $"'{root}' holds no bundle. Put one at <name>/<version>/manifest.json, or point the models setting elsewhere."));
        }

        if (errors.Count == 0)
        {
            return new LoadResult<ClassifierSet>(new ClassifierSet(bundles.ToImmutable()), []);
        }

        foreach (var bundle in bundles)
        {
            bundle.Dispose();
        }

        return new LoadResult<ClassifierSet>(null, errors.ToImmutable());
    }

    public void Dispose()
    {
        foreach (var bundle in Bundles)
        {
            bundle.Dispose();
        }
    }

    // Folders without a manifest are somebody else's, such as a version that is still being copied under another name.
    private static List<string> NewestVersions(string root, ImmutableArray<BundleError>.Builder errors)
    {
        var newest = new List<string>();
        if (!Directory.Exists(root))
        {
            errors.Add(new BundleError("", "", "", $"Folder '{root}' does not exist. Create it or correct the models setting."));
            return newest;
        }

        foreach (var name in Directory.EnumerateDirectories(root).Order(StringComparer.Ordinal))
        {
            (Version? Version, string Folder) best = (null, "");
            foreach (var folder in Directory.EnumerateDirectories(name).Where(folder => File.Exists(Path.Combine(folder, BundleLoader.ManifestFile))))
            {
                if (!ManifestReader.TryParseVersion(Path.GetFileName(folder), out var version))
                {
                    errors.Add(new BundleError(
                        $"{Path.GetFileName(name)}/{Path.GetFileName(folder)}", "", "",
                        $"'{Path.GetFileName(folder)}' is not a version. Name the folder like 1.0.0, or take its manifest.json away."));
                }
                else if (best.Version is null || version > best.Version)
                {
                    best = (version, folder);
                }
            }

            if (best.Version is not null)
            {
                newest.Add(best.Folder);
            }
        }

        return newest;
    }
}
