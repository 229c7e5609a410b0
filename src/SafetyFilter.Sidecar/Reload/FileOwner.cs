using System.Globalization;
using System.Runtime.InteropServices;

namespace SafetyFilter.Sidecar.Reload;

/// <summary>Who owns a file, as far as this machine's <c>/etc/passwd</c> knows: .NET tells a file's mode but not its owner.</summary>
internal static unsafe partial class FileOwner
{
    private const int WorkingDirectory = -100; // AT_FDCWD
    private const uint BasicStats = 0x7ff; // STATX_BASIC_STATS

    // struct statx is 256 bytes, the same on every architecture.
    private const int StatSize = 256;
    private const int UserIdAt = 20;
    private const int ChangedAt = 112;

    /// <summary>The owner of the file, links followed, that was written last; empty when there is none that can be asked.</summary>
    public static string OfNewest(IEnumerable<string> paths)
    {
        var (newest, owner) = (long.MinValue, "");
        foreach (var path in paths)
        {
            if (TryRead(path, out var userId, out var written) && written > newest)
            {
                (newest, owner) = (written, NameOf(userId));
            }
        }

        return owner;
    }

    private static bool TryRead(string path, out uint userId, out long written)
    {
        var buffer = stackalloc byte[StatSize];
        var found = Statx(WorkingDirectory, path, 0, BasicStats, buffer) == 0;
        userId = found ? *(uint*)(buffer + UserIdAt) : 0;

        // Seconds and nanoseconds; the product holds until the year 2262.
        written = found ? *(long*)(buffer + ChangedAt) * 1_000_000_000 + *(uint*)(buffer + ChangedAt + 8) : 0;
        return found;
    }

    private static string NameOf(uint userId)
    {
        var id = userId.ToString(CultureInfo.InvariantCulture);
        try
        {
            foreach (var line in File.ReadLines("/etc/passwd"))
            {
                var fields = line.Split(':');
                if (fields.Length > 2 && fields[2] == id)
                {
                    return fields[0];
                }
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // The number says it too.
        }

        return "uid " + id;
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, byte* into);
}
