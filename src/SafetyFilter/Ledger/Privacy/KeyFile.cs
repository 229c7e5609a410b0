namespace SafetyFilter.Ledger.Privacy;

/// <summary>Makes files that hold keys.</summary>
internal static class KeyFile
{
    /// <summary>Makes a file, durably, that only its owner may read and write.</summary>
    /// <exception cref="LedgerException">It cannot be made; says why.</exception>
    public static void Create(string path, ReadOnlySpan<byte> content)
    {
        try
        {
            if (SpoolFolder.Replace(path, content, UnixFileMode.UserRead | UnixFileMode.UserWrite) is not 0 and var error)
            {
                throw new LedgerException($"'{path}' cannot be made durable ({NativeFile.Describe(error)}). Check the disk.");
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new LedgerException($"'{path}' cannot be made: {error.Message} Make its folder writable, or name another file.", error);
        }
    }
}
