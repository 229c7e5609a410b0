namespace SafetyFilter.Ledger;

/// <summary>What somebody pointed at: a spool folder, the folder of one stream, or one segment file.</summary>
internal sealed record SpoolSource(IReadOnlyList<SpoolSource.Part> Streams)
{
    public static bool TryOpen(string path, out SpoolSource source, out string? error)
    {
        source = null!;
        error = null;
        try
        {
            if (File.Exists(path))
            {
                source = new SpoolSource([new Part(path, IsFolder: false, IsInUse: false)]);
                return true;
            }

            if (!Directory.Exists(path))
            {
                error = $"'{path}' is neither a folder nor a file. Name a spool folder, the folder of a stream, or a segment.";
                return false;
            }

            var folders = SpoolFolder.Segments(path).Count > 0 ? [path] : SpoolFolder.Streams(path);
            if (folders.Count == 0)
            {
                error = $"'{path}' holds no ledger: neither segments ({SpoolFolder.SegmentName(1)}) nor folders of streams.";
                return false;
            }

            source = new SpoolSource([.. folders.Select(static folder => new Part(folder, IsFolder: true, SpoolFolder.IsInUse(folder)))]);
            return true;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            error = $"'{path}' cannot be read: {failure.Message}";
            return false;
        }
    }

    /// <param name="IsInUse">A sidecar is writing: what follows the newest record is its business.</param>
    internal sealed record Part(string Path, bool IsFolder, bool IsInUse)
    {
        public SpoolReader Open() => IsFolder ? SpoolReader.OpenStream(Path, follow: IsInUse) : SpoolReader.OpenSegment(Path);
    }
}
