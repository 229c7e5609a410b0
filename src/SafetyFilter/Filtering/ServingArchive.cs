using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Logging;
using SafetyFilter.Ledger;
using SafetyFilter.Observability;
using SafetyFilter.Scoring;

namespace SafetyFilter.Filtering;

/// <summary>
/// Keeps what served by its digest, so that decisions can be recomputed when the folders that policies and models came from have
/// moved on. Each thing is written once and never changed or deleted.
/// </summary>
/// <remarks>
/// <code>
/// policies/{revision}.yaml               the canonical form; its SHA-256 is its name
/// models/{SHA-256 of model.onnx}/        manifest.json and every file that it names
/// models/{...}/manifest-{SHA-256}.json   other manifests that the same model served with
/// </code>
/// A failure is logged and serving goes on: records name the digests, and whoever has the files can put them here.
/// </remarks>
internal sealed partial class ServingArchive(ArchiveOptions options, string spoolFolder, ILogger<ServingArchive> logger)
{
    private const string Unfinished = ".tmp";

    private readonly string _root = options.Folder.Length == 0 ? "" : Path.Combine(spoolFolder, options.Folder);

    public void KeepPolicies(ServingSnapshot snapshot) => Try("policies", folder =>
    {
        foreach (var policy in snapshot.Plans.Select(static plan => plan.Policy).DistinctBy(static policy => policy.Revision))
        {
            WriteOnce(Path.Combine(folder, policy.Revision + ".yaml"), Encoding.UTF8.GetBytes(policy.Canonical));
        }
    });

    /// <summary>Copies bundles that are not there yet. Takes as long as the disk does.</summary>
    public void KeepBundles(ServingSnapshot snapshot) => Try("models", folder =>
    {
        foreach (var bundle in snapshot.Plans.SelectMany(static plan => plan.Steps).Select(static step => step.Bundle.Bundle).Distinct())
        {
            if (bundle.Folder.Length > 0)
            {
                Keep(bundle, Path.Combine(folder, Convert.ToHexStringLower(bundle.ModelSha256.Span)));
            }
        }
    });

    private static void Keep(ModelBundle bundle, string target)
    {
        var source = Path.Combine(bundle.Folder, BundleLoader.ManifestFile);
        if (Directory.Exists(target))
        {
            if (!SHA256.HashData(File.ReadAllBytes(Path.Combine(target, BundleLoader.ManifestFile))).AsSpan().SequenceEqual(bundle.ManifestSha256.Span))
            {
                WriteOnce(Path.Combine(target, $"manifest-{Convert.ToHexStringLower(bundle.ManifestSha256.Span)}.json"), Checked(source, bundle.ManifestSha256.Span));
            }

            return;
        }

        // What a killed predecessor left.
        var making = target + Unfinished;
        if (Directory.Exists(making))
        {
            Directory.Delete(making, recursive: true);
        }

        Directory.CreateDirectory(making);
        WriteOnce(Path.Combine(making, BundleLoader.ManifestFile), Checked(source, bundle.ManifestSha256.Span));
        foreach (var file in bundle.Manifest.Files)
        {
            CopyChecked(Path.Combine(bundle.Folder, file.Name), Path.Combine(making, file.Name), file.Sha256.AsSpan());
        }

        Confirm(NativeFile.SyncFolder(making), making);
        Directory.Move(making, target);
        Confirm(NativeFile.SyncFolder(Path.GetDirectoryName(target)!), target);
    }

    // Somebody may have replaced it since it was loaded.
    private static byte[] Checked(string path, ReadOnlySpan<byte> sha256)
    {
        var bytes = File.ReadAllBytes(path);
        return SHA256.HashData(bytes).AsSpan().SequenceEqual(sha256)
            ? bytes
            : throw new IOException($"'{path}' is no longer the file that was loaded.");
    }

    // Large files, which the kernel copies; what counts is what the copy holds.
    private static void CopyChecked(string source, string copy, ReadOnlySpan<byte> sha256)
    {
        File.Copy(source, copy);
        using var file = File.OpenRead(copy);
        if (!SHA256.HashData(file).AsSpan().SequenceEqual(sha256))
        {
            throw new IOException($"'{source}' is no longer the file that was loaded.");
        }

        Confirm(NativeFile.Sync(file.SafeFileHandle), copy);
    }

    private static void WriteOnce(string path, ReadOnlySpan<byte> content)
    {
        if (!File.Exists(path))
        {
            Confirm(SpoolFolder.Replace(path, content), path);
        }
    }

    private static void Confirm(int error, string path)
    {
        if (error != 0)
        {
            throw new IOException($"'{path}' cannot be made durable ({NativeFile.Describe(error)}).");
        }
    }

    private void Try(string what, Action<string> keep)
    {
        if (_root.Length == 0)
        {
            return;
        }

        try
        {
            var folder = Path.Combine(_root, what);
            Directory.CreateDirectory(folder);
            keep(folder);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            ArchiveFailed(logger, what, _root, error.Message);
        }
    }

    [LoggerMessage(EventIds.LedgerArchiveFailed, LogLevel.Warning,
        "The {What} that serve are not in the archive '{Folder}': {Reason} Decisions cannot be recomputed from it until they are")]
    private static partial void ArchiveFailed(ILogger logger, string what, string folder, string reason);
}
