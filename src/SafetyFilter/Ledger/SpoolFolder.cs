using System.Globalization;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;

namespace SafetyFilter.Ledger;

/// <summary>Names of the files in a spool, and how small ones are replaced so that a crash leaves the old or the new.</summary>
internal static class SpoolFolder
{
    public const string SegmentExtension = ".seg";
    public const string SpareExtension = ".spare";

    /// <summary>Beside a segment whose fdatasync failed, until its records are written again.</summary>
    public const string DoubtExtension = ".doubted";

    public const string Quarantine = "quarantine";
    private const string IdentityFile = "spool.json";
    private const string LockFile = "lock";
    private const UnixFileMode FolderMode =
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute;

    public static string StreamName(Guid streamId) => streamId.ToString("N");

    public static string SegmentName(ulong firstSequence) => firstSequence.ToString("D20", CultureInfo.InvariantCulture) + SegmentExtension;

    public static bool TryReadSegmentName(ReadOnlySpan<char> fileName, out ulong firstSequence)
    {
        firstSequence = 0;
        return fileName.EndsWith(SegmentExtension, StringComparison.Ordinal)
            && fileName.Length == 20 + SegmentExtension.Length
            && ulong.TryParse(fileName[..20], NumberStyles.None, CultureInfo.InvariantCulture, out firstSequence);
    }

    /// <summary>The segments of a stream by first sequence, oldest first.</summary>
    public static List<(ulong FirstSequence, string Path)> Segments(string streamFolder)
    {
        var found = new List<(ulong FirstSequence, string Path)>();
        foreach (var path in Directory.EnumerateFiles(streamFolder, "*" + SegmentExtension))
        {
            if (TryReadSegmentName(Path.GetFileName(path.AsSpan()), out var first))
            {
                found.Add((first, path));
            }
        }

        found.Sort(static (left, right) => left.FirstSequence.CompareTo(right.FirstSequence));
        return found;
    }

    /// <summary>The folders of streams in a spool; usually one.</summary>
    public static List<string> Streams(string root)
    {
        var found = new List<string>();
        foreach (var folder in Directory.EnumerateDirectories(root))
        {
            if (Guid.TryParseExact(Path.GetFileName(folder), "N", out _))
            {
                found.Add(folder);
            }
        }

        found.Sort(StringComparer.Ordinal);
        return found;
    }

    public static void Create(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            throw new LedgerException("The spool needs Linux: it maps files and checks fdatasync.");
        }

        try
        {
            Directory.CreateDirectory(path, FolderMode);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new LedgerException($"The spool folder '{path}' cannot be made: {error.Message} Make its parent writable, or set Ledger:Spool:Folder elsewhere.", error);
        }
    }

    /// <summary>Takes the spool for this process until the handle is closed or the process is gone, however it goes.</summary>
    public static SafeFileHandle Lock(string root)
    {
        var path = Path.Combine(root, LockFile);

        // By hand: .NET's own use of flock swallows errors, can be switched off by environment, and for any FileShare takes
        // at least a shared lock, which would fail here without a word on who holds the other.
        var handle = NativeFile.OpenOrCreate(path, out var error);
        if (error != 0)
        {
            throw new LedgerException($"'{path}' cannot be opened ({NativeFile.Describe(error)}). Make the spool folder writable.");
        }

        error = NativeFile.Lock(handle, exclusive: true);
        for (var attempt = 0; error == NativeFile.TryAgain && attempt < 10; attempt++)
        {
            // An auditor's IsInUse holds it for an instant.
            Thread.Sleep(10);
            error = NativeFile.Lock(handle, exclusive: true);
        }

        if (error == 0)
        {
            // For people only: what hinders it here will hinder what matters too.
            RandomAccess.SetLength(handle, 0);
            _ = NativeFile.Write(handle, System.Text.Encoding.ASCII.GetBytes($"{Environment.ProcessId}\n"), 0);
            return handle;
        }

        handle.Dispose();
        throw new LedgerException(error == NativeFile.TryAgain
            ? $"The spool folder '{root}' is in use by process {HolderOf(path)}. Stop it, or give this one its own Ledger:Spool:Folder."
            : $"The spool folder '{root}' cannot be locked ({NativeFile.Describe(error)}). Use a local file system that supports flock.");
    }

    /// <summary>Whether a sidecar has the spool of this stream open.</summary>
    public static bool IsInUse(string streamFolder)
    {
        var path = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(streamFolder)) ?? "", LockFile);
        using var handle = NativeFile.OpenRead(path, out var error);
        return error == 0 && NativeFile.Lock(handle, exclusive: false) == NativeFile.TryAgain;
    }

    /// <summary>Replaces a file: a temporary one, fsync, rename, fsync of the folder. 0 or the errno.</summary>
    /// <param name="mode">Its permissions from the first byte on; null for the usual ones.</param>
    public static int Replace(string path, ReadOnlySpan<byte> content, UnixFileMode? mode = null)
    {
        var temporary = path + ".tmp";
        using (var handle = File.OpenHandle(temporary, FileMode.Create, FileAccess.Write))
        {
            if (mode is { } wanted)
            {
                File.SetUnixFileMode(handle, wanted);
            }

            var error = NativeFile.Write(handle, content, 0);
            error = error != 0 ? error : NativeFile.Sync(handle);
            if (error != 0)
            {
                return error;
            }
        }

        File.Move(temporary, path, overwrite: true);
        return NativeFile.SyncFolder(Path.GetDirectoryName(path)!);
    }

    /// <summary>The stream that this folder holds and its last epoch; null when nothing was ever written here.</summary>
    public static (Guid StreamId, uint Epoch)? ReadIdentity(string root)
    {
        var path = Path.Combine(root, IdentityFile);
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(path));
            return (Guid.ParseExact(json.RootElement.GetProperty("stream_id").GetString()!, "N"), json.RootElement.GetProperty("epoch").GetUInt32());
        }
        catch (Exception error) when (
            error is JsonException or KeyNotFoundException or FormatException or InvalidOperationException or ArgumentNullException)
        {
            throw new LedgerException(
                $"'{path}' is damaged ({error.Message}). Remove it: the stream and its last epoch are then taken from the newest segment.", error);
        }
    }

    public static void WriteIdentity(string root, Guid streamId, uint epoch)
    {
        var path = Path.Combine(root, IdentityFile);
        var text = $$"""{"format":1,"stream_id":"{{streamId:N}}","epoch":{{epoch}}}""";
        if (Replace(path, System.Text.Encoding.ASCII.GetBytes(text)) is not 0 and var error)
        {
            throw new LedgerException($"'{path}' cannot be made durable ({NativeFile.Describe(error)}). Check the disk.");
        }
    }

    private static string HolderOf(string lockPath)
    {
        using var handle = NativeFile.OpenRead(lockPath, out var error);
        Span<byte> text = stackalloc byte[20];
        var length = error == 0 ? RandomAccess.Read(handle, text, 0) : 0;
        return length > 0 ? System.Text.Encoding.ASCII.GetString(text[..length]).Trim() : "(unknown)";
    }
}
