using System.Collections.Immutable;
using System.Text;

namespace SafetyFilter.Policy;

/// <summary>The text of one policy file. <paramref name="Name"/> is what errors call it.</summary>
internal sealed record PolicySource(string Name, string Text)
{
    /// <summary>Far above any policy that people can read; it bounds what a wrong path can make us load.</summary>
    public const int MaxBytes = 1 << 20;

    private static ReadOnlySpan<byte> Utf8Mark => [0xEF, 0xBB, 0xBF];

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Reads all *.yaml and *.yml files of a folder (not of its subfolders), in the order of their names.</summary>
    public static (ImmutableArray<PolicySource> Sources, ImmutableArray<PolicyError> Errors) ReadFolder(string folder)
    {
        string[] files;
        try
        {
            files = [.. Directory.EnumerateFiles(folder).Where(IsPolicyFile).Order(StringComparer.Ordinal)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return ([], [Unreadable(folder, $"the policy folder cannot be read: {e.Message}")]);
        }

        return files.Length == 0
            ? ([], [Unreadable(folder, "the policy folder holds no .yaml or .yml file", "Put at least one policy file there.")])
            : ReadFiles(files);
    }

    /// <summary>Reads policy files; one that cannot be read is an error beside the others' texts.</summary>
    public static (ImmutableArray<PolicySource> Sources, ImmutableArray<PolicyError> Errors) ReadFiles(IEnumerable<string> paths)
    {
        var sources = ImmutableArray.CreateBuilder<PolicySource>();
        var errors = ImmutableArray.CreateBuilder<PolicyError>();
        foreach (var path in paths)
        {
            var name = Path.GetFileName(path);
            try
            {
                var length = new FileInfo(path).Length;
                if (length > MaxBytes)
                {
                    errors.Add(Unreadable(name, $"the file has {length} bytes, more than {MaxBytes}", "Split it into several files."));
                    continue;
                }

                // Not a StreamReader: it would take other encodings by their byte order marks.
                var bytes = File.ReadAllBytes(path).AsSpan();
                sources.Add(new PolicySource(name, StrictUtf8.GetString(bytes.StartsWith(Utf8Mark) ? bytes[Utf8Mark.Length..] : bytes)));
            }
            catch (DecoderFallbackException)
            {
                errors.Add(Unreadable(name, "the file is not UTF-8", "Save it as UTF-8."));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                errors.Add(Unreadable(name, $"the file cannot be read: {e.Message}"));
            }
        }

        return (sources.DrainToImmutable(), errors.DrainToImmutable());
    }

    // Editors and Kubernetes leave hidden files and links beside the real ones.
    private static bool IsPolicyFile(string path) =>
        !Path.GetFileName(path).StartsWith('.') && Path.GetExtension(path) is ".yaml" or ".yml";

    private static PolicyError Unreadable(string name, string problem, string remedy = "Check the path and its permissions.") =>
        new(name, new Position(1, 1), "", problem.TrimEnd('.'), remedy, "");
}
