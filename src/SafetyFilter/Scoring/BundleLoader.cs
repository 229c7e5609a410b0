using System.Globalization;
using System.Security.Cryptography;
using Microsoft.ML.OnnxRuntime;

namespace SafetyFilter.Scoring;

/// <summary>
/// Makes a <see cref="ModelBundle"/> of a folder or says everything that is wrong with it: manifest, hashes, model file, graph,
/// golden scores. The bytes that were hashed and inspected are the bytes that ONNX Runtime gets; no file is read twice.
/// </summary>
internal sealed class BundleLoader
{
    public const string ManifestFile = "manifest.json";

    private readonly string _folder;
    private readonly string _id;
    private readonly BundleLimits _limits;
    private readonly List<BundleError> _errors = [];
    private byte[] _manifestSha256 = [];

    private BundleLoader(string folder, BundleLimits limits)
    {
        _folder = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        _id = $"{Path.GetFileName(Path.GetDirectoryName(_folder))}/{Path.GetFileName(_folder)}";
        _limits = limits;
    }

    public static LoadResult<ModelBundle> Load(string folder, BundleLimits limits, TimeProvider time)
    {
        var loader = new BundleLoader(folder, limits);
        var manifest = loader.ReadManifest();
        var bundle = manifest is null ? null : loader.Load(manifest, DateOnly.FromDateTime(time.GetUtcNow().UtcDateTime));
        var owner = manifest?.Owner ?? "";
        return new LoadResult<ModelBundle>(bundle, [.. loader._errors.Select(error => error with { Owner = owner })]);
    }

    /// <summary>A bundle that serves no more, to recompute what it once scored: it may lie anywhere and have expired.</summary>
    public static LoadResult<ModelBundle> LoadArchived(string folder, BundleLimits limits)
    {
        var loader = new BundleLoader(folder, limits);
        var manifest = loader.ReadManifest();
        var bundle = manifest is null ? null : loader.Load(manifest, today: null);
        return new LoadResult<ModelBundle>(bundle, [.. loader._errors.Select(error => error with { Owner = manifest?.Owner ?? "" })]);
    }

    private ModelBundle? Load(BundleManifest manifest, DateOnly? today)
    {
        var understood = _errors.Count == 0;
        if (today is { } day)
        {
            CheckPlaceAndDate(manifest, day);
        }

        var (model, golden) = ReadFiles(manifest);
        if (model is not null)
        {
            foreach (var problem in OnnxGuard.Inspect(model, _limits.ExtraDomains))
            {
                Refuse(ManifestReader.ModelFile, problem);
            }
        }

        // What golden.json must hold follows from the manifest: with a faulty one its errors would mislead.
        var test = golden is null || !understood ? null : GoldenTest.Read(golden, manifest, new JsonFaults(_id, ManifestReader.GoldenFile, _errors));
        return _errors.Count == 0 && model is not null && test is not null ? Start(manifest, model, test) : null;
    }

    private BundleManifest? ReadManifest()
    {
        if (ReadFile(ManifestFile, _limits.MaxJsonBytes) is not { } bytes)
        {
            return null;
        }

        _manifestSha256 = SHA256.HashData(bytes);
        return ManifestReader.Read(bytes, new JsonFaults(_id, ManifestFile, _errors));
    }

    private void CheckPlaceAndDate(BundleManifest manifest, DateOnly today)
    {
        var declared = $"{manifest.Name}/{manifest.Version}";
        if (declared != _id)
        {
            Refuse(ManifestFile, $"It says it is '{declared}' but lies in '{_id}'. Rename the folder or correct name and version.");
        }

        if (manifest.Expires < today && manifest.Expires != default)
        {
            var expires = manifest.Expires.ToString("O", CultureInfo.InvariantCulture);
            Refuse(ManifestFile, $"It expired after {expires}. Review the model and extend its expiry, or remove the bundle.");
        }
    }

    private (byte[]? Model, byte[]? Golden) ReadFiles(BundleManifest manifest)
    {
        byte[]? model = null, golden = null;
        foreach (var file in manifest.Files)
        {
            byte[]? hash;
            switch (file.Name)
            {
                case ManifestReader.ModelFile:
                    model = ReadFile(file.Name, _limits.MaxModelBytes);
                    hash = model is null ? null : SHA256.HashData(model);
                    break;
                case ManifestReader.GoldenFile:
                    golden = ReadFile(file.Name, _limits.MaxJsonBytes);
                    hash = golden is null ? null : SHA256.HashData(golden);
                    break;
                default:
                    // Nothing here needs its content, and an encoder is larger than all else in memory.
                    hash = OpenFile(file.Name, _limits.MaxFileBytes, SHA256.HashData);
                    break;
            }

            if (hash is not null && !hash.AsSpan().SequenceEqual(file.Sha256.AsSpan()))
            {
                Refuse(file.Name, $"Its SHA-256 is {Convert.ToHexStringLower(hash)}, the manifest says {Convert.ToHexStringLower(file.Sha256.AsSpan())}. "
                    + "Restore the file, or release a new version of the bundle.");
            }
        }

        return (model, golden);
    }

    private byte[]? ReadFile(string name, long limit) => OpenFile(name, Math.Min(limit, Array.MaxLength), static file =>
    {
        var bytes = new byte[file.Length];
        file.ReadExactly(bytes);
        return bytes;
    });

    private byte[]? OpenFile(string name, long limit, Func<Stream, byte[]> read)
    {
        try
        {
            using var file = File.OpenRead(Path.Combine(_folder, name));
            if (file.Length <= limit)
            {
                return read(file);
            }

            Refuse(name, $"It has {file.Length} bytes, more than the limit of {limit}. Make it smaller or raise the limit.");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            Refuse(name, $"It cannot be read: {error.Message.Trim()} Restore the file and the right to read it.");
        }

        return null;
    }

    private ModelBundle? Start(BundleManifest manifest, byte[] model, GoldenTest test)
    {
        InferenceSession session;
        try
        {
            using var options = SessionSettings.Create();
            session = new InferenceSession(model, options);
        }
        catch (OnnxRuntimeException error)
        {
            Refuse(ManifestReader.ModelFile, $"ONNX Runtime refuses it: {error.Message.Trim()} Export it again, for this version.");
            return null;
        }

        // The session's shapes decide how the bundle binds its outputs, so a graph that does not fit gets no bundle.
        GraphCheck.Run(session, manifest, new JsonFaults(_id, ManifestFile, _errors));
        if (_errors.Count > 0)
        {
            session.Dispose();
            return null;
        }

        var bundle = new ModelBundle(session, manifest, SHA256.HashData(model)) { ManifestSha256 = _manifestSha256, Folder = _folder, Tolerance = test.Tolerance };
        test.Run(bundle, new JsonFaults(_id, ManifestReader.GoldenFile, _errors));
        if (_errors.Count == 0)
        {
            return bundle;
        }

        bundle.Dispose();
        return null;
    }

    private void Refuse(string file, string problem) => _errors.Add(new BundleError(_id, file, "", problem));
}
