using Microsoft.Win32.SafeHandles;

namespace SafetyFilter.Ledger;

/// <summary>
/// What a disk confirms, modelled: lets a test decide which bytes and names a loss of power would leave. All return 0 or
/// an errno.
/// </summary>
/// <remarks>Only what makes things durable goes through here; the files themselves are real, and stand for the page cache.</remarks>
internal abstract class SpoolDisk
{
    /// <summary>The model that answers this thread's calls; null, as always outside of tests, for the real disk.</summary>
    [field: ThreadStatic]
    public static SpoolDisk? Model { get; set; }

    public abstract int DataSync(SafeFileHandle file);

    public abstract int Sync(SafeFileHandle file);

    public abstract int SyncFolder(string path);

    /// <summary>0: the file is really extended.</summary>
    public abstract int BeforeAllocate(SafeFileHandle file);
}
