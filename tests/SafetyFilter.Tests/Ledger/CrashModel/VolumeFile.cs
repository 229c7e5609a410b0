namespace SafetyFilter.Tests.Ledger.CrashModel;

/// <summary>One inode: what the disk is known to hold of it, and what it may hold.</summary>
internal sealed class VolumeFile(byte[] durable)
{
    public const int Sector = 512;

    // What the page cache held at some moments since the last sync, oldest first; the kernel may have written any of it.
    private readonly List<byte[]> _versions = [];

    // What the cache held when a sync failed: those pages are marked clean, and no later sync will write them.
    private byte[]? _abandoned;

    /// <summary>What a loss of power cannot take.</summary>
    public byte[] Durable { get; private set; } = durable;

    public bool IsDirty => _versions.Count > 0 && !_versions[^1].AsSpan().SequenceEqual(Durable);

    /// <summary>The newest content that was seen.</summary>
    public byte[] Newest => _versions.Count > 0 ? _versions[^1] : Durable;

    public void See(byte[] content)
    {
        if (!Newest.AsSpan().SequenceEqual(content))
        {
            _versions.Add(content);
        }
    }

    /// <summary>A content that was there for an instant, between two that were seen.</summary>
    public void SeeBefore(byte[] content) => _versions.Insert(Math.Max(_versions.Count - 1, 0), content);

    public void Confirm()
    {
        if (_abandoned is null)
        {
            Durable = Newest;
            _versions.Clear();
            return;
        }

        // Only what changed since the failure is written now.
        var newest = Newest;
        var disk = new byte[newest.Length];
        for (var at = 0; at < newest.Length; at += Sector)
        {
            var end = Math.Min(at + Sector, newest.Length);
            var clean = Slice(_abandoned, at, end).SequenceEqual(newest.AsSpan(at..end));
            (clean ? Slice(Durable, at, end) : newest.AsSpan(at..end)).CopyTo(disk.AsSpan(at..end));
        }

        Durable = disk;
        _versions.RemoveRange(0, Math.Max(_versions.Count - 1, 0));
    }

    public void Fail() => _abandoned = Newest;

    public VolumeFile Clone()
    {
        var clone = new VolumeFile(Durable) { _abandoned = _abandoned };
        clone._versions.AddRange(_versions);
        return clone;
    }

    /// <summary>What a loss of power leaves: each sector old or new or in between.</summary>
    public byte[] Crash(Random random)
    {
        if (_versions.Count == 0)
        {
            return Durable;
        }

        var lengths = random.Next(_versions.Count + 1);
        var length = lengths == _versions.Count ? Durable.Length : _versions[lengths].Length;
        var disk = new byte[length];
        var way = (CrashPattern)random.Next((int)CrashPattern.Count);
        var run = way == CrashPattern.Pages ? 8 * Sector : Sector;
        var border = random.Next(length / Sector + 2) * Sector;
        for (var at = 0; at < length; at += run)
        {
            var end = Math.Min(at + run, length);
            var source = way switch
            {
                CrashPattern.Nothing => Durable,
                CrashPattern.Everything => Newest,
                CrashPattern.Front => at < border ? Newest : Durable,
                CrashPattern.Back => at < border ? Durable : Newest,
                _ => random.Next(_versions.Count + 1) is var one && one == _versions.Count ? Durable : _versions[one],
            };
            Slice(source, at, end).CopyTo(disk.AsSpan(at));
        }

        return disk;
    }

    private static ReadOnlySpan<byte> Slice(byte[] content, int from, int to) =>
        from >= content.Length ? [] : content.AsSpan(from, Math.Min(to, content.Length) - from);

    private enum CrashPattern
    {
        Nothing,
        Everything,
        Front,
        Back,
        Sectors,
        Pages,
        Count,
    }
}
