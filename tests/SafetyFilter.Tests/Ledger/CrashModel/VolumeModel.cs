using Microsoft.Win32.SafeHandles;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger.CrashModel;

internal enum DiskCall
{
    DataSync,
    Sync,
    SyncFolder,
    Allocate,
}

/// <summary>
/// A volume whose power may fail at any moment. The real folder stands for the page cache: whatever is stored there is
/// seen. On the disk is only what a sync confirmed, and of the rest any choice of sectors and of names.
/// </summary>
/// <remarks>
/// Looks at the folder when a sync is asked for and when told to, and finds the changes by itself: nothing that the code under
/// test does to its files can be left out. Not thread-safe.
/// </remarks>
internal sealed class VolumeModel : SpoolDisk
{
    public const int InputOutputError = 5;
    public const int NoSpace = 28;

    private readonly Dictionary<ulong, VolumeFile> _files = [];
    private readonly HashSet<ulong> _folders = [];
    private readonly VolumeNames _names = new();

    /// <param name="root">Everything in it is on the disk already.</param>
    public VolumeModel(string root)
    {
        Root = root;
        Look();
        ConfirmAll();
    }

    private VolumeModel(string root, VolumeModel other)
    {
        Root = root;
        var inodes = new Dictionary<ulong, ulong>();
        foreach (var (path, inode) in other._names.Now)
        {
            inodes[inode] = FileStat.Inode(Path.Combine(root, path));
        }

        // Those without a name in the cache keep a number that no file has.
        ulong invented = ulong.MaxValue;
        foreach (var inode in other._names.Reachable.Where(inode => !inodes.ContainsKey(inode)).ToList())
        {
            inodes.TryAdd(inode, invented--);
        }

        foreach (var (inode, file) in other._files.Where(file => inodes.ContainsKey(file.Key)))
        {
            _files[inodes[inode]] = file.Clone();
        }

        _folders.UnionWith(other._folders.Where(inodes.ContainsKey).Select(inode => inodes[inode]));
        _names = other._names.Clone(inodes);
    }

    public string Root { get; }

    /// <summary>Syncs that were asked for.</summary>
    public int Calls { get; private set; }

    /// <summary>Asked before each call: 0, or the errno with which it fails.</summary>
    public Func<DiskCall, int>? Failing { get; set; }

    /// <summary>Told before and after each call: a moment at which the power may fail.</summary>
    public Action? Moment { get; set; }

    public override int DataSync(SafeFileHandle file) => Sync(file, DiskCall.DataSync);

    public override int Sync(SafeFileHandle file) => Sync(file, DiskCall.Sync);

    public override int SyncFolder(string path)
    {
        var error = Begin(DiskCall.SyncFolder);
        if (error == 0)
        {
            var folder = Path.GetRelativePath(Root, path);
            _names.Confirm(folder == "." ? "" : folder);
            Moment?.Invoke();
        }

        return error;
    }

    public override int BeforeAllocate(SafeFileHandle file) => Failing?.Invoke(DiskCall.Allocate) ?? 0;

    /// <summary>Takes the present state of the cache as one that the kernel may have written, in part, by itself.</summary>
    public void Look()
    {
        var names = new Dictionary<string, ulong>(StringComparer.Ordinal);
        foreach (var entry in new DirectoryInfo(Root).EnumerateFileSystemInfos("*", SearchOption.AllDirectories))
        {
            var inode = FileStat.Inode(entry.FullName);
            names[Path.GetRelativePath(Root, entry.FullName)] = inode;
            if (entry is not FileInfo file)
            {
                _folders.Add(inode);
            }
            else if (file.Extension != SpoolFolder.SegmentExtension || !IsFinished(inode, file.Length))
            {
                See(inode, entry.FullName);
            }
        }

        _names.See(names);
        if (_files.Count > names.Count + 64)
        {
            var reachable = _names.Reachable.ToHashSet();
            foreach (var inode in _files.Keys.Where(inode => !reachable.Contains(inode)).ToList())
            {
                _files.Remove(inode);
            }
        }
    }

    /// <summary>A content that a file of the cache had for an instant.</summary>
    public void LookBack(string path, byte[] content) => _files[FileStat.Inode(path)].SeeBefore(content);

    /// <summary>Makes the volume as a loss of power at this moment may leave it.</summary>
    public void Crash(Random random, string target)
    {
        foreach (var (path, inode) in _names.Crash(random, ordered: random.Next(3) != 0).OrderBy(static entry => entry.Key, StringComparer.Ordinal))
        {
            var full = Path.Combine(target, path);
            if (_folders.Contains(inode))
            {
                Directory.CreateDirectory(full);
            }
            else
            {
                File.WriteAllBytes(full, _files[inode].Crash(random));
            }
        }
    }

    /// <summary>The volume after the death of every process, with the power on: the cache stays, and what it owes the disk.</summary>
    public VolumeModel Restart(string target)
    {
        Look();
        var made = new Dictionary<ulong, string>();
        foreach (var (path, inode) in _names.Now.OrderBy(static entry => entry.Key, StringComparer.Ordinal))
        {
            var full = Path.Combine(target, path);
            if (_folders.Contains(inode))
            {
                Directory.CreateDirectory(full);
            }
            else if (!made.TryAdd(inode, full))
            {
                Assert.Equal(0, NativeFile.Link(made[inode], full));
            }
            else
            {
                File.WriteAllBytes(full, _files[inode].Newest);
            }
        }

        return new VolumeModel(target, this);
    }

    /// <summary>Mapped segments have whole pages; one that was seen after it was cut to length changes no more.</summary>
    private bool IsFinished(ulong inode, long length) =>
        length > 1024 && length % 4096 != 0 && _files.TryGetValue(inode, out var file) && file.Newest.Length == length;

    private int Sync(SafeFileHandle handle, DiskCall call)
    {
        var error = Begin(call);
        var file = _files[FileStat.Inode(handle)];
        if (error != 0)
        {
            file.Fail();
            return error;
        }

        file.Confirm();
        Moment?.Invoke();
        return 0;
    }

    private int Begin(DiskCall call)
    {
        Calls++;
        Look();
        Moment?.Invoke();
        return Failing?.Invoke(call) ?? 0;
    }

    private void See(ulong inode, string path)
    {
        var content = Read(path);
        if (!_files.TryGetValue(inode, out var file))
        {
            file = new VolumeFile([]);
            _files.Add(inode, file);
        }

        file.See(content);
    }

    /// <summary>Without .NET's locks: the spool has these files open.</summary>
    public static byte[] Read(string path)
    {
        using var file = NativeFile.OpenRead(path, out var error);
        Assert.Equal(0, error);
        var content = new byte[RandomAccess.GetLength(file)];
        var read = RandomAccess.Read(file, content, 0);
        return read == content.Length ? content : throw new IOException($"{read} of {content.Length} bytes read from '{path}'.");
    }

    private void ConfirmAll()
    {
        _names.ConfirmAll();
        foreach (var file in _files.Values)
        {
            file.Confirm();
        }
    }
}
