namespace SafetyFilter.Sidecar.Hosting;

/// <summary>
/// Makes sure that this process alone owns a socket path. A sidecar that was killed leaves its socket file behind, and
/// Kestrel does not bind to a path that exists; removing it is only safe while nobody else may be serving on it.
/// </summary>
internal sealed class UnixSocketClaim : IDisposable
{
    private readonly FileStream? _lock;

    private UnixSocketClaim(FileStream? @lock) => _lock = @lock;

    /// <summary>Claims the path, and removes a stale socket. An empty path claims nothing.</summary>
    /// <param name="path">Of the socket.</param>
    /// <param name="setting">The setting that names it, for messages.</param>
    /// <exception cref="IOException">Another process holds the path, it cannot be written, or something that is no socket is there.</exception>
    public static UnixSocketClaim Take(string path, string setting)
    {
        if (path.Length == 0)
        {
            return new UnixSocketClaim(null);
        }

        var held = TakeLock(path, setting);
        if (File.Exists(path))
        {
            if (new FileInfo(path).Length > 0)
            {
                held.Dispose();
                throw new IOException($"{setting} '{path}' is a file with content, not a socket. Remove it or choose another path.");
            }

            File.Delete(path);
        }

        return new UnixSocketClaim(held);
    }

    public void Dispose() => _lock?.Dispose();

    private static FileStream TakeLock(string path, string setting)
    {
        var file = path + ".lock";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);

            // FileShare.None is flock(2) on Unix: the kernel releases it with the process, however that ends.
            return new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // .NET reports flock's EWOULDBLOCK as a plain IOException with this code.
            const int WouldBlock = 11;
            throw new IOException(
                error.HResult == WouldBlock
                    ? $"{setting} '{path}' is in use by another process ('{file}' is locked). Stop that one or choose another path."
                    : $"{setting} '{path}' cannot be used: {error.Message} Make its folder writable or choose another path.",
                error);
        }
    }
}
