namespace SafetyFilter.Ledger;

/// <summary>What somebody pointed at: spool folders, folders of one stream, segment files, wherever they were copied to.</summary>
internal sealed record SpoolSource(IReadOnlyList<SpoolSource.Part> Streams) : ILedgerSource
{
    /// <summary>Of all segments as they are now.</summary>
    public long Bytes { get; private init; }

    public static bool TryOpen(string path, out SpoolSource source, out string? error) => TryOpen([path], out source, out error);

    /// <summary>The parts come in the order of their streams and sequences, whatever the order of the paths.</summary>
    public static bool TryOpen(IReadOnlyList<string> paths, out SpoolSource source, out string? error)
    {
        source = null!;
        error = null;
        var parts = new List<Part>();
        foreach (var path in paths)
        {
            try
            {
                error = Collect(path, parts);
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                error = $"'{path}' cannot be read: {failure.Message}";
            }

            if (error is not null)
            {
                return false;
            }
        }

        parts.Sort(static (left, right) => left.Start.CompareTo(right.Start));
        source = new SpoolSource(parts) { Bytes = parts.Sum(static part => part.Bytes) };
        return true;
    }

    public string? Read(RecordVisitor visit, DamageVisitor damaged, CancellationToken stop)
    {
        foreach (var part in Streams)
        {
            using var reader = part.Open();
            while (reader.Read() is var read && read != SpoolRead.End)
            {
                stop.ThrowIfCancellationRequested();
                if (read == SpoolRead.Damage)
                {
                    damaged(reader.Damage);
                }
                else
                {
                    visit(reader.SegmentPath, reader.Offset, reader.Type, reader.Payload);
                }
            }
        }

        return null;
    }

    private static string? Collect(string path, List<Part> parts)
    {
        if (File.Exists(path))
        {
            parts.Add(new Part(path, IsFolder: false, IsInUse: false, StartOf(path)));
            return null;
        }

        if (!Directory.Exists(path))
        {
            return $"'{path}' is neither a folder nor a file. Name a spool folder, the folder of a stream, or a segment.";
        }

        var folders = SpoolFolder.Segments(path).Count > 0 ? [path] : SpoolFolder.Streams(path);
        foreach (var folder in folders)
        {
            var segments = SpoolFolder.Segments(folder);
            parts.Add(new Part(folder, IsFolder: true, SpoolFolder.IsInUse(folder), segments.Count == 0 ? default : StartOf(segments[0].Path)));
        }

        return folders.Count > 0
            ? null
            : $"'{path}' holds no ledger: neither segments ({SpoolFolder.SegmentName(1)}) nor folders of streams.";
    }

    // By what the segment says of itself, since exported files may have any name; by its name when it says nothing.
    private static (Guid Stream, ulong Sequence) StartOf(string segment)
    {
        Span<byte> header = stackalloc byte[SegmentFormat.FileHeaderLength];
        try
        {
            using var file = File.OpenHandle(segment, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            if (SegmentFormat.TryReadFileHeader(header[..RandomAccess.Read(file, header, 0)], out var values))
            {
                return (values.StreamId, values.FirstSequence);
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Whoever reads on meets it again and says so.
        }

        _ = Guid.TryParseExact(Path.GetFileName(Path.GetDirectoryName(Path.GetFullPath(segment))), "N", out var stream);
        _ = SpoolFolder.TryReadSegmentName(Path.GetFileName(segment), out var first);
        return (stream, first);
    }

    /// <param name="IsInUse">A sidecar is writing: what follows the newest record is its business.</param>
    /// <param name="Start">The stream and sequence it begins with, as far as its first header tells.</param>
    internal sealed record Part(string Path, bool IsFolder, bool IsInUse, (Guid Stream, ulong Sequence) Start)
    {
        public long Bytes => IsFolder ? SpoolFolder.Segments(Path).Sum(static segment => LengthOf(segment.Path)) : LengthOf(Path);

        public SpoolReader Open() => IsFolder ? SpoolReader.OpenStream(Path, follow: IsInUse) : SpoolReader.OpenSegment(Path);

        // A publisher may delete it at any time.
        private static long LengthOf(string path) => new FileInfo(path) is { Exists: true } file ? file.Length : 0;
    }
}
