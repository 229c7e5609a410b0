using System.Text.Json;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>Sequences that nobody can read any more.</summary>
/// <param name="Evidence">The file in the quarantine folder that has what is left of them; empty when nothing is.</param>
/// <param name="EmptyLeaves">Whether the tree counts them as empty records.</param>
/// <param name="IsAdmitted">Whether a durable Gap record says so.</param>
internal sealed record LostRange(ulong First, ulong Last, Gap.Types.Cause Cause, string Evidence, bool EmptyLeaves, bool IsAdmitted = false);

/// <summary>
/// Which losses of a stream are known, and which of them a Gap record admits: <c>gaps.json</c>. A loss is noted before anything goes past it and
/// marked when its record is durable, so that a crash in between admits it twice rather than never.
/// </summary>
internal sealed class GapBook
{
    private const string FileName = "gaps.json";

    private readonly string _path;
    private readonly List<LostRange> _ranges = [];

    private GapBook(string path)
    {
        _path = path;
    }

    /// <summary>Known losses without a durable Gap record.</summary>
    public List<LostRange> NotAdmitted => _ranges.FindAll(static range => !range.IsAdmitted);

    /// <summary>A file that is missing or damaged knows of nothing: its losses are met and admitted again.</summary>
    public static GapBook Read(string streamFolder)
    {
        var book = new GapBook(Path.Combine(streamFolder, FileName));
        if (!File.Exists(book._path))
        {
            return book;
        }

        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(book._path));
            foreach (var gap in json.RootElement.EnumerateArray())
            {
                book._ranges.Add(new LostRange(
                    gap.GetProperty("first").GetUInt64(), gap.GetProperty("last").GetUInt64(), (Gap.Types.Cause)gap.GetProperty("cause").GetInt32(),
                    gap.GetProperty("evidence").GetString() ?? "", gap.GetProperty("empty_leaves").GetBoolean(), gap.GetProperty("admitted").GetBoolean()));
            }
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException or FormatException or InvalidOperationException)
        {
            book._ranges.Clear();
        }

        return book;
    }

    /// <summary>Notes what of a range is not known yet. The book is durable when this returns something.</summary>
    public List<LostRange> Note(LostRange lost)
    {
        var added = new List<LostRange>();
        for (var next = lost.First; next <= lost.Last;)
        {
            if (_ranges.Find(range => range.First <= next && next <= range.Last) is { } known)
            {
                next = known.Last + 1;
                continue;
            }

            var after = _ranges.FindAll(range => range.First > next).ConvertAll(static range => range.First);
            var last = Math.Min(lost.Last, after.Count > 0 ? after.Min() - 1 : ulong.MaxValue);
            added.Add(lost with { First = next, Last = last });
            next = last + 1;
        }

        if (added.Count > 0)
        {
            _ranges.AddRange(added);
            try
            {
                Save();
            }
            catch
            {
                // Not known then: whoever meets it again notes it again.
                _ranges.RemoveRange(_ranges.Count - added.Count, added.Count);
                throw;
            }
        }

        return added;
    }

    /// <summary>To be called when the record that admits it is durable.</summary>
    public void MarkAdmitted(LostRange lost)
    {
        var index = _ranges.IndexOf(lost);
        if (index >= 0)
        {
            _ranges[index] = _ranges[index] with { IsAdmitted = true };
            Save();
        }
    }

    private void Save()
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            writer.WriteStartArray();
            foreach (var range in _ranges)
            {
                writer.WriteStartObject();
                writer.WriteNumber("first", range.First);
                writer.WriteNumber("last", range.Last);
                writer.WriteNumber("cause", (int)range.Cause);
                writer.WriteString("evidence", range.Evidence);
                writer.WriteBoolean("empty_leaves", range.EmptyLeaves);
                writer.WriteBoolean("admitted", range.IsAdmitted);
                writer.WriteEndObject();
            }

            writer.WriteEndArray();
        }

        if (SpoolFolder.Replace(_path, stream.ToArray()) is not 0 and var error)
        {
            throw new IOException($"'{_path}' cannot be made durable ({NativeFile.Describe(error)})");
        }
    }
}
