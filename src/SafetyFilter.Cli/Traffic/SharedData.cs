using System.Globalization;
using System.IO.Compression;
using System.Text;

namespace SafetyFilter.Cli.Traffic;

/// <summary>
/// Real texts from a folder of gzip-compressed tables: tab-separated, one header row, the text last. Ordinary titles are
/// popular videos and books; harmful ones are rows that no model was trained on (<c>split</c> = dev).
/// </summary>
internal static class SharedData
{
    private static readonly (string Family, string File, string Label)[] Families =
    [
        ("toxicity", "toxicity.tsv.gz", "toxic"),
        ("hate", "hate.tsv.gz", "hate"),
        ("spam", "spam.tsv.gz", "spam"),
        ("clickbait", "clickbait.tsv.gz", "clickbait"),
        ("prompt-injection", "injection.tsv.gz", "injection"),
    ];

    public static Catalogue Read(string folder, ulong seed)
    {
        if (!Directory.Exists(folder))
        {
            throw new TrafficException($"--data {folder} is not a folder. Name one with candidates.tsv.gz in it, or leave the option out for invented titles.");
        }

        return new Catalogue(ReadOrdinary(folder, seed), [.. Families.Select(family => ReadHarmful(folder, family, seed))], $"real texts from {folder}");
    }

    private static List<CatalogueItem> ReadOrdinary(string folder, ulong seed)
    {
        var rows = new List<(CatalogueItem Item, double Popularity)>();
        var table = Open(folder, "candidates.tsv.gz");
        int id = table.Column("id"), country = table.Column("country"), popularity = table.Column("popularity"), group = table.Column("group");
        foreach (var row in table.Rows)
        {
            // The group of a book is its language; of a video it is the country of the list.
            var language = row[country].Length == 0 ? BookLanguage(row[group]) : VideoLanguage(row[country]);
            var views = double.TryParse(row[popularity], NumberStyles.Float, CultureInfo.InvariantCulture, out var number) ? number : 0;
            rows.Add((new CatalogueItem(row[id], language, row[^1]), views));
        }

        // Every kind of item stays in the sample; what it is sorted by afterwards is its popularity.
        var random = SplitMix64.For(seed, 1);
        Shuffle(rows, ref random);
        var items = new List<CatalogueItem>();
        foreach (var (item, _) in rows.Take(Catalogue.OrdinaryItems).OrderByDescending(row => row.Popularity))
        {
            items.Add(Catalogue.WithFacts(item, ref random));
        }

        return items;
    }

    private static HarmfulFamily ReadHarmful(string folder, (string Family, string File, string Label) source, ulong seed)
    {
        var table = Open(folder, source.File);
        int id = table.Column("id"), split = table.Column("split"), label = table.Column(source.Label);
        var kind = table.Find("kind");
        var rows = new List<CatalogueItem>();
        foreach (var row in table.Rows)
        {
            // Rows of kind indirect_* are attacks only inside an e-mail or page; alone they are ordinary requests.
            if (row[split] == "dev" && row[label] == "1" && (kind < 0 || !row[kind].StartsWith("indirect", StringComparison.Ordinal)))
            {
                rows.Add(new CatalogueItem(row[id], "en", row[^1]) { Family = source.Family, ShownMasked = true });
            }
        }

        var random = SplitMix64.For(seed, 2);
        Shuffle(rows, ref random);
        var items = new List<CatalogueItem>();
        foreach (var item in rows.Take(Catalogue.HarmfulItemsPerFamily))
        {
            items.Add(Catalogue.WithFacts(item, ref random));
        }

        return items.Count > 0
            ? new HarmfulFamily(source.Family, items)
            : throw new TrafficException($"{source.File} in {folder} has no row with split = dev and {source.Label} = 1.");
    }

    private static void Shuffle<T>(List<T> rows, ref SplitMix64 random)
    {
        for (var i = rows.Count - 1; i > 0; i--)
        {
            var other = random.Next(i + 1);
            (rows[i], rows[other]) = (rows[other], rows[i]);
        }
    }

    private static string BookLanguage(string code) => code switch
    {
        "" or "mul" => "",
        "eng" => "en",
        "spa" => "es",
        "fre" => "fr",
        "ger" => "de",
        _ => code,
    };

    private static string VideoLanguage(string country) => country switch
    {
        "US" or "CA" => "en",
        "MX" => "es",
        "JP" => "ja",
        "KR" => "ko",
        _ => country.ToLowerInvariant(),
    };

    private static Table Open(string folder, string file)
    {
        var path = Path.Combine(folder, file);
        if (!File.Exists(path))
        {
            throw new TrafficException($"--data {folder} has no {file}. Leave the option out for invented titles.");
        }

        using var reader = new StreamReader(new GZipStream(File.OpenRead(path), CompressionMode.Decompress), Encoding.UTF8);
        var header = reader.ReadLine()?.Split('\t') ?? [];
        var rows = new List<string[]>();
        while (reader.ReadLine() is { } line)
        {
            var cells = line.Split('\t');
            if (cells.Length != header.Length)
            {
                throw new TrafficException($"{path} line {rows.Count + 2} has {cells.Length} columns, its header {header.Length}.");
            }

            rows.Add(cells);
        }

        return new Table(path, header, rows);
    }

    private sealed record Table(string Path, string[] Header, List<string[]> Rows)
    {
        public int Find(string name) => Array.IndexOf(Header, name);

        public int Column(string name) =>
            Find(name) is >= 0 and var index ? index : throw new TrafficException($"{Path} has no column '{name}' in its header.");
    }
}
