using System.Security.Cryptography;
using System.Text;

namespace SafetyFilter.Sidecar.Operations;

/// <summary>What an operator may do. Whoever may change may read too.</summary>
internal enum OperationsRight : byte
{
    Read = 1,
    Change = 2,
}

/// <summary>
/// The tokens of <c>Operations:TokensFile</c>. Only their hashes stand there, so that reading the file is not being let in. Thread-safe.
/// </summary>
internal sealed class AccessTokens(string path)
{
    private readonly Lock _lock = new();
    private (DateTime Written, long Length) _read;
    private bool _isUnreadable;
    private List<(string Name, OperationsRight Right, byte[] Hash)> _tokens = [];

    /// <summary>Whose token it is, by the file as it is now. A file that cannot be read or has a wrong line lets in who was let in before.</summary>
    /// <param name="error">What is wrong with the file, told once for each state of it; null otherwise.</param>
    public (string Name, OperationsRight Right)? Find(string token, out string? error)
    {
        List<(string Name, OperationsRight Right, byte[] Hash)> tokens;
        lock (_lock)
        {
            error = Refresh();
            tokens = _tokens;
        }

        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(Encoding.UTF8.GetBytes(token), hash);
        foreach (var (name, right, known) in tokens)
        {
            if (CryptographicOperations.FixedTimeEquals(hash, known))
            {
                return (name, right);
            }
        }

        return null;
    }

    private string? Refresh()
    {
        try
        {
            var file = new FileInfo(path);
            var state = (file.LastWriteTimeUtc, file.Exists ? file.Length : -1);
            if (state == _read)
            {
                return null;
            }

            var tokens = new List<(string, OperationsRight, byte[])>();
            var number = 0;
            foreach (var line in File.ReadLines(path))
            {
                number++;
                var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
                if (words.Length == 0 || words[0].StartsWith('#'))
                {
                    continue;
                }

                if (words is not [var name, "read" or "change", { Length: SHA256.HashSizeInBytes * 2 } hash] || !hash.All(char.IsAsciiHexDigit))
                {
                    _read = state;
                    return $"Operations:TokensFile '{path}' line {number} is not NAME read|change SHA256-OF-TOKEN-IN-HEX; the tokens read before stay valid.";
                }

                tokens.Add((name, words[1] == "read" ? OperationsRight.Read : OperationsRight.Change, Convert.FromHexString(hash)));
            }

            (_tokens, _read, _isUnreadable) = (tokens, state, false);
            return null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Tried again by the next call: what hinders may go without a change of the file.
            var isTold = _isUnreadable;
            _isUnreadable = true;
            return isTold ? null : $"Operations:TokensFile '{path}' cannot be read ({error.Message}); the tokens read before stay valid.";
        }
    }
}
