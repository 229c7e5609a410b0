using System.IO.Compression;
using System.Text;

namespace SafetyFilter.Training.Data;

/// <summary>A gzip-compressed, tab-separated file with a header row and no quoting.</summary>
internal sealed class Table(string[] columns, List<string[]> rows)
{
    public List<string[]> Rows => rows;

    public static Table Read(string path)
    {
        using var file = File.OpenRead(path);
        using var gzip = new GZipStream(file, CompressionMode.Decompress);
        using var reader = new StreamReader(gzip, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false));
        var columns = reader.ReadLine()?.Split('\t') ?? throw new InvalidDataException($"{path} is empty; it needs a header row.");
        var rows = new List<string[]>();
        // Only \n ends a line: texts may contain characters that ReadLine takes for line ends.
        foreach (string line in reader.ReadToEnd().Split('\n'))
        {
            if (line.Length == 0)
            {
                continue;
            }

            var row = line.Split('\t');
            if (row.Length != columns.Length)
            {
                throw new InvalidDataException($"{path}: row {rows.Count + 2} has {row.Length} columns, the header has {columns.Length}.");
            }

            rows.Add(row);
        }

        return new Table(columns, rows);
    }

    /// <summary>The position of a column, or -1 when the table has none of that name.</summary>
    public int Column(string name) => Array.IndexOf(columns, name);
}
