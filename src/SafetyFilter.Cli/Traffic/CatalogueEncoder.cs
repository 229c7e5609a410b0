using System.Text.Json;
using SafetyFilter.Scoring.Text;

namespace SafetyFilter.Cli.Traffic;

/// <summary>
/// Gives every item its content embedding, once, as a platform would when content is uploaded: with the encoder that the
/// bundle whose heads read the embedding was trained with.
/// </summary>
internal static class CatalogueEncoder
{
    /// <exception cref="TrafficException">No bundle has an encoder, or it cannot be used.</exception>
    public static void Encode(Catalogue catalogue, string modelsFolder)
    {
        using var encoder = Open(modelsFolder);
        CatalogueItem[] items = [.. catalogue.All];
        var embeddings = encoder.Encode([.. items.Select(item => item.Title)]);
        for (var i = 0; i < items.Length; i++)
        {
            items[i].Embedding = embeddings[(i * encoder.Width)..((i + 1) * encoder.Width)];
        }
    }

    private static TextEncoder Open(string modelsFolder)
    {
        foreach (var manifestPath in Manifests(modelsFolder))
        {
            using var manifest = JsonDocument.Parse(File.ReadAllBytes(manifestPath));
            if (!manifest.RootElement.TryGetProperty("encoder", out var encoder))
            {
                continue;
            }

            var options = TextFeaturizerOptions.Parse(encoder.GetProperty("parameters"), out var error)
                ?? throw new TrafficException($"{manifestPath}: encoder: {error}");
            return new TextEncoder(Path.Combine(Path.GetDirectoryName(manifestPath)!, encoder.GetProperty("file").GetString()!), options);
        }

        throw new TrafficException($"No bundle in {modelsFolder} has an encoder in its manifest, so that there is nothing to make embeddings with.");
    }

    /// <summary>The manifest of each bundle's highest version.</summary>
    private static IEnumerable<string> Manifests(string modelsFolder)
    {
        if (!Directory.Exists(modelsFolder))
        {
            yield break;
        }

        foreach (var bundle in Directory.EnumerateDirectories(modelsFolder).Order(StringComparer.Ordinal))
        {
            var newest = Directory.EnumerateDirectories(bundle)
                .Where(folder => Version.TryParse(Path.GetFileName(folder), out _) && File.Exists(Path.Combine(folder, "manifest.json")))
                .MaxBy(folder => Version.Parse(Path.GetFileName(folder)));
            if (newest is not null)
            {
                yield return Path.Combine(newest, "manifest.json");
            }
        }
    }
}
