using System.Collections.Concurrent;
using Grpc.Core;

namespace SafetyFilter.Client;

/// <summary>
/// Names a call's surface outside of its message, so that an overloaded sidecar knows the surface's priority before it reads the
/// message. One set of headers per surface, made once. Thread-safe.
/// </summary>
/// <param name="mostKept">Names beyond these get headers of their own on each call: a name may come from the caller's own callers.</param>
internal sealed class SurfaceHeaders(int mostKept = 64)
{
    /// <summary>As the sidecar's admission reads it.</summary>
    public const string Name = "safetyfilter-surface";

    // The sidecar's limit of a surface's name.
    private const int Longest = 64;

    private readonly ConcurrentDictionary<string, Metadata> _kept = new(StringComparer.Ordinal);
    private int _count;

    /// <summary>Null for a name that no header can carry as it is; such a call counts as of normal priority until its message is read.</summary>
    public Metadata? Of(string surface)
    {
        if (_kept.TryGetValue(surface, out var headers))
        {
            return headers;
        }

        if (!IsHeaderValue(surface))
        {
            return null;
        }

        headers = new Metadata { { Name, surface } };
        if (Volatile.Read(ref _count) < mostKept && _kept.TryAdd(surface, headers))
        {
            Interlocked.Increment(ref _count);
        }

        return headers;
    }

    // gRPC's ASCII-Value, less the space: one at an end would be trimmed on the way, and make it another name.
    private static bool IsHeaderValue(string surface) =>
        surface.Length is > 0 and <= Longest && !surface.AsSpan().ContainsAnyExceptInRange('!', '~');
}
