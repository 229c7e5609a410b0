using System.Globalization;
using System.Text;
using System.Text.Json;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Ledger.Verify;

/// <summary>What a witness remembers of one stream, in <c>{folder}/{stream}/state.json</c>: the newest tree it vouches for.</summary>
/// <param name="Frontier">The perfect subtrees of the tree of that size.</param>
/// <param name="Note">The checkpoint as its writer signed it.</param>
internal sealed record WitnessState(Guid StreamId, CompactRange Frontier, uint Epoch, string EpochKey, string Identity, string Note)
{
    private const string FileName = "state.json";

    public ulong Size => Frontier.End;

    /// <summary>Null when the stream was never witnessed here.</summary>
    /// <exception cref="LedgerException">The file is damaged. It is not replaced: what it remembers is what a witness is for.</exception>
    public static WitnessState? Read(string folder, Guid stream)
    {
        var path = Path.Combine(FolderOf(folder, stream), FileName);
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(path));
            var root = json.RootElement;
            var size = root.GetProperty("size").GetUInt64();
            return new WitnessState(
                stream,
                CompactRange.TryRead(0, size, Convert.FromHexString(root.GetProperty("frontier").GetString()!)) ?? throw new FormatException("The frontier is not that of the size."),
                root.GetProperty("epoch").GetUInt32(),
                root.GetProperty("epoch_key").GetString()!,
                root.GetProperty("identity").GetString()!,
                root.GetProperty("note").GetString()!);
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException or FormatException or InvalidOperationException or ArgumentNullException)
        {
            throw new LedgerException($"'{path}' is damaged ({error.Message}). Restore it; without it the witness cannot tell a fork.", error);
        }
    }

    /// <summary>Makes the new state durable, then the cosigned note: a witness never says what it might forget.</summary>
    public void Write(string folder, string cosigned)
    {
        var path = FolderOf(folder, StreamId);
        Directory.CreateDirectory(path);
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream))
        {
            json.WriteStartObject();
            json.WriteNumber("format", 1);
            json.WriteNumber("size", Size);
            json.WriteString("root", Frontier.Root().ToString());
            json.WriteString("frontier", Convert.ToHexStringLower(Frontier.ToArray()));
            json.WriteNumber("epoch", Epoch);
            json.WriteString("epoch_key", EpochKey);
            json.WriteString("identity", Identity);
            json.WriteString("note", Note);
            json.WriteEndObject();
        }

        Replace(Path.Combine(path, FileName), stream.ToArray());
        Replace(NotePath(folder), Encoding.UTF8.GetBytes(cosigned));
    }

    public string NotePath(string folder) => Path.Combine(FolderOf(folder, StreamId), Size.ToString("D20", CultureInfo.InvariantCulture) + ".note");

    /// <summary>Keeps a checkpoint that contradicts what was witnessed. With the note of the same size it is the proof against its signer.</summary>
    public static void WriteEvidence(string folder, Guid stream, ulong size, string note)
    {
        Directory.CreateDirectory(FolderOf(folder, stream));
        Replace(Path.Combine(FolderOf(folder, stream), string.Create(CultureInfo.InvariantCulture, $"{size:D20}.refused")), Encoding.UTF8.GetBytes(note));
    }

    private static string FolderOf(string folder, Guid stream) => Path.Combine(Path.GetFullPath(folder), SpoolFolder.StreamName(stream));

    private static void Replace(string path, byte[] content)
    {
        if (SpoolFolder.Replace(path, content) is not 0 and var error)
        {
            throw new LedgerException($"'{path}' cannot be made durable ({NativeFile.Describe(error)}). Check the disk.");
        }
    }
}
