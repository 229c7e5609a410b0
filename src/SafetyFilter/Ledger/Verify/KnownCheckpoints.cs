using System.Runtime.InteropServices;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Ledger.Verify;

/// <summary>
/// Checkpoints from outside the ledger, such as a witness keeps: the ledger must contain these very trees. Their signatures are not
/// checked: who brings them vouches for them. Not thread-safe.
/// </summary>
internal sealed class KnownCheckpoints
{
    private const string NotePattern = "*.note";

    // Ascending by size once they are asked for; the same size twice is allowed.
    private readonly Dictionary<Guid, List<Known>> _streams = [];
    private bool _sorted;

    public int Count { get; private set; }

    /// <summary>Found in the ledger as they are.</summary>
    public int Matched { get; private set; }

    /// <summary>Not comparable: their records are older than the first one read, or leaves before them are not known.</summary>
    public int Outside => Count - Matched - Differing;

    public int Differing { get; private set; }

    /// <summary>Reads notes from a file (one or several after each other), or all *.note files of a folder. Null when that went well.</summary>
    public string? Load(string path)
    {
        try
        {
            var files = Directory.Exists(path) ? Directory.GetFiles(path, NotePattern, SearchOption.AllDirectories) : [path];
            foreach (var file in files)
            {
                foreach (var note in Split(File.ReadAllText(file)))
                {
                    if (!SignedNote.TryParse(note, out var signed) || !CheckpointText.TryParse(signed.Text, out var checkpoint))
                    {
                        return $"'{file}' holds something that is no signed checkpoint. Name files of notes, or the state folder of a witness.";
                    }

                    Add(checkpoint, file);
                }
            }

            return Count > 0 ? null : $"'{path}' holds no checkpoints ({NotePattern}).";
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return $"'{path}' cannot be read: {error.Message}";
        }
    }

    public void Add(CheckpointText checkpoint, string source)
    {
        if (!_streams.TryGetValue(checkpoint.StreamId, out var known))
        {
            _streams.Add(checkpoint.StreamId, known = []);
        }

        known.Add(new Known(checkpoint.TreeSize, checkpoint.Root, source));
        _sorted = false;
        Count++;
    }

    public IEnumerable<Guid> Streams => _streams.Keys;

    /// <summary>The first size of a stream behind the given one; <see cref="ulong.MaxValue"/> when there is none.</summary>
    public ulong NextSize(Guid stream, ulong after) => From(stream, after + 1) is [var first, ..] ? first.Size : ulong.MaxValue;

    public void Compare(Verdict verdict, Guid stream, ulong size, in TreeHash root)
    {
        foreach (var one in From(stream, size))
        {
            if (one.Size != size)
            {
                break;
            }

            if (one.Root == root)
            {
                Matched++;
                continue;
            }

            Differing++;
            verdict.Find(FindingKind.SplitView, new RecordPlace(one.Source, 0, stream, size),
                $"this checkpoint over {size} records has the root {one.Root}; the ledger's is {root}: it was rewritten, or others were shown another one");
        }
    }

    /// <summary>Finds those that lie behind the newest record.</summary>
    public void Finish(Verdict verdict, Guid stream, ulong last)
    {
        foreach (var one in From(stream, last + 1))
        {
            Differing++;
            verdict.Find(FindingKind.SplitView, new RecordPlace(one.Source, 0, stream, one.Size),
                last == 0
                    ? $"a checkpoint over {one.Size} records of stream {stream:N} exists; the ledger has nothing of that stream"
                    : $"a checkpoint over {one.Size} records exists; the ledger ends at {last}: its end was cut off, or is not here yet");
        }
    }

    private ReadOnlySpan<Known> From(Guid stream, ulong size)
    {
        if (!_sorted)
        {
            foreach (var known in _streams.Values)
            {
                known.Sort(static (left, right) => left.Size.CompareTo(right.Size));
            }

            _sorted = true;
        }

        var all = CollectionsMarshal.AsSpan(_streams.GetValueOrDefault(stream));
        var (low, high) = (0, all.Length);
        while (low < high)
        {
            var middle = (low + high) / 2;
            (low, high) = all[middle].Size < size ? (middle + 1, high) : (low, middle);
        }

        return all[low..];
    }

    // A note ends with its signature lines; the next one starts with a line of its text.
    private static IEnumerable<string> Split(string text)
    {
        var start = 0;
        for (var at = text.IndexOf("\n\u2014 ", StringComparison.Ordinal); at >= 0; at = text.IndexOf("\n\u2014 ", at + 1, StringComparison.Ordinal))
        {
            var end = text.IndexOf('\n', at + 1) + 1;
            if (end == 0)
            {
                break;
            }

            if (!text.AsSpan(end).StartsWith("\u2014 ", StringComparison.Ordinal))
            {
                yield return text[start..end];
                start = end;
            }
        }

        if (text.AsSpan(start).Trim().Length > 0)
        {
            yield return text[start..];
        }
    }

    private readonly record struct Known(ulong Size, TreeHash Root, string Source);
}
