using System.Runtime.InteropServices;

namespace SafetyFilter.Tests.Ledger.CrashModel;

/// <summary>The directory entries of a volume: those on the disk, and the changes that no fsync of a folder has confirmed.</summary>
/// <remarks>Paths are relative to the volume's root; a folder is an entry like a file.</remarks>
internal sealed class VolumeNames
{
    private readonly Dictionary<string, ulong> _durable = new(StringComparer.Ordinal);
    private readonly List<Change> _changes = [];
    private Dictionary<string, ulong> _now = new(StringComparer.Ordinal);

    /// <summary>All inodes that some entry, durable or not, may still lead to.</summary>
    public IEnumerable<ulong> Reachable => _durable.Values.Concat(_changes.Select(static change => change.Inode)).Concat(_now.Values);

    public IReadOnlyDictionary<string, ulong> Now => _now;

    /// <summary>Takes note of what became of the names since the last call. A vanished name whose inode came up under a new one was renamed.</summary>
    public void See(Dictionary<string, ulong> names)
    {
        var gone = _now.Where(entry => !names.TryGetValue(entry.Key, out var inode) || inode != entry.Value).OrderBy(static entry => entry.Key, StringComparer.Ordinal).ToList();
        var come = names.Where(entry => !_now.TryGetValue(entry.Key, out var inode) || inode != entry.Value).OrderBy(static entry => entry.Key, StringComparer.Ordinal).ToList();
        foreach (var (path, inode) in come)
        {
            var source = gone.Find(entry => entry.Value == inode && !names.ContainsKey(entry.Key));
            gone.RemoveAll(entry => entry.Key == source.Key || entry.Key == path);
            _changes.Add(new Change(source.Key, path, inode));
        }

        foreach (var (path, inode) in gone)
        {
            _changes.Add(new Change(path, null, inode));
        }

        _now = names;
    }

    /// <summary>fsync of a folder; "" is the root.</summary>
    public void Confirm(string folder)
    {
        foreach (ref var change in CollectionsMarshal.AsSpan(_changes))
        {
            change.Durable |= string.Equals(Path.GetDirectoryName(change.To ?? change.From), folder, StringComparison.Ordinal);
        }

        while (_changes.Count > 0 && _changes[0].Durable)
        {
            _changes[0].Apply(_durable);
            _changes.RemoveAt(0);
        }
    }

    public void ConfirmAll()
    {
        _changes.Clear();
        _durable.Clear();
        foreach (var (path, inode) in _now)
        {
            _durable[path] = inode;
        }
    }

    /// <summary>The entries that a loss of power leaves.</summary>
    /// <param name="ordered">As a journal does: a change survives only with all before it. Otherwise any of them may.</param>
    public Dictionary<string, ulong> Crash(Random random, bool ordered)
    {
        var left = new Dictionary<string, ulong>(_durable, StringComparer.Ordinal);
        var through = random.Next(_changes.FindLastIndex(static change => change.Durable) + 1, _changes.Count + 1);
        for (var index = 0; index < _changes.Count; index++)
        {
            if (_changes[index].Durable || (ordered ? index < through : random.Next(2) == 0))
            {
                _changes[index].Apply(left);
            }
        }

        // What stands in a folder whose own name is lost is lost with it.
        foreach (var path in left.Keys.Where(path => Path.GetDirectoryName(path) is { Length: > 0 } folder && !left.ContainsKey(folder)).ToList())
        {
            left.Remove(path);
        }

        return left;
    }

    /// <summary>The same names and changes over other inodes.</summary>
    public VolumeNames Clone(IReadOnlyDictionary<ulong, ulong> inodes)
    {
        var clone = new VolumeNames { _now = _now.ToDictionary(entry => entry.Key, entry => inodes[entry.Value], StringComparer.Ordinal) };
        foreach (var (path, inode) in _durable)
        {
            clone._durable[path] = inodes[inode];
        }

        clone._changes.AddRange(_changes.Select(change => change with { Inode = inodes[change.Inode] }));
        return clone;
    }

    /// <param name="From">Null: made, or a second name.</param>
    /// <param name="To">Null: removed.</param>
    private record struct Change(string? From, string? To, ulong Inode)
    {
        public bool Durable { get; set; }

        public readonly void Apply(Dictionary<string, ulong> names)
        {
            if (From is not null)
            {
                names.Remove(From);
            }

            if (To is not null)
            {
                names[To] = Inode;
            }
        }
    }
}
