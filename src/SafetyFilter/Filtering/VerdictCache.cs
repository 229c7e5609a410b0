using System.IO.Hashing;
using System.Security.Cryptography;
using BitFaster.Caching.Lfu;

namespace SafetyFilter.Filtering;

/// <summary>
/// Scores that bundles gave, kept for the next request with the same content: a bounded W-TinyLFU (BitFaster's ConcurrentLfu), in memory
/// only. Thread-safe. Closed, and empty, until a policy asks for it.
/// </summary>
/// <remarks>
/// A key has no part that can lie: besides id and version, which are the caller's words, it holds the digest of the candidate's input
/// (which the record wants anyway) and the digests of the bundle. What is found is what the bundle gives for that input.
/// </remarks>
internal sealed class VerdictCache(VerdictCacheOptions options, TimeProvider time) : IDisposable
{
    private readonly Lock _lock = new();

    // Hashes have a seed of this process, so that nobody can choose contents that share one.
    private readonly long _seed = BitConverter.ToInt64(RandomNumberGenerator.GetBytes(sizeof(long)));
    private volatile Store? _store;
    private long _evictedFromClosed;

    /// <summary>Null while closed. A request takes it once.</summary>
    public ConcurrentLfu<ScoreKey, float[]>? Scores => _store?.Scores;

    /// <summary>Counts them one by one: for a metric, not for a request.</summary>
    public long Count => _store?.Scores.Count ?? 0;

    /// <summary>Entries that made room for others since the start of the process.</summary>
    public long Evicted
    {
        get
        {
            lock (_lock)
            {
                return _evictedFromClosed + (_store?.Evicted ?? 0);
            }
        }
    }

    public void Open()
    {
        lock (_lock)
        {
            _store ??= new Store(options.Entries, time);
        }
    }

    /// <summary>Forgets everything. Requests that are under way may still use what they have taken.</summary>
    public void Close()
    {
        lock (_lock)
        {
            if (_store is { } store)
            {
                _evictedFromClosed += store.Evicted;
                _store = null;
                store.Dispose();
            }
        }
    }

    /// <param name="id">The candidate's.</param>
    /// <param name="version">Its content version; not empty.</param>
    /// <param name="inputDigest">16 bytes.</param>
    public ScoreKey KeyOf(ReadOnlySpan<byte> id, ReadOnlySpan<byte> version, ReadOnlySpan<byte> inputDigest)
    {
        // Each of the two is hashed by itself: "a" in version "bc" is not "ab" in version "c".
        var candidate = XxHash128.HashToUInt128(id, _seed);
        var content = XxHash128.HashToUInt128(version, (long)(ulong)candidate);
        return new ScoreKey((ulong)content, (ulong)(content >> 64) ^ (ulong)(candidate >> 64))
            .With(new ScoreKey(BitConverter.ToUInt64(inputDigest), BitConverter.ToUInt64(inputDigest[sizeof(ulong)..])));
    }

    public void Dispose() => Close();

    private sealed class Store : IDisposable
    {
        private readonly CacheUpkeep _upkeep;

        public Store(int entries, TimeProvider time)
        {
            _upkeep = new CacheUpkeep(time);
            Scores = new ConcurrentLfu<ScoreKey, float[]>(Environment.ProcessorCount, entries, _upkeep, EqualityComparer<ScoreKey>.Default);
        }

        public ConcurrentLfu<ScoreKey, float[]> Scores { get; }

        public long Evicted => Scores.Metrics.Value!.Evicted;

        public void Dispose() => _upkeep.Dispose();
    }
}

/// <summary>128 bits, evenly spread, of everything that the scores of a bundle depend on.</summary>
internal readonly struct ScoreKey(ulong low, ulong high) : IEquatable<ScoreKey>
{
    private readonly ulong _low = low;
    private readonly ulong _high = high;

    /// <summary>The key of both together.</summary>
    public ScoreKey With(ScoreKey other) => new(_low ^ other._low, _high ^ other._high);

    public bool Equals(ScoreKey other) => _low == other._low && _high == other._high;

    public override bool Equals(object? obj) => obj is ScoreKey other && Equals(other);

    public override int GetHashCode() => (int)_low;
}
