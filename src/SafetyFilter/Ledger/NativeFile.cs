using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace SafetyFilter.Ledger;

/// <summary>
/// The system calls that .NET does not offer, or offers without telling of failure: on Linux, .NET 10's
/// <c>RandomAccess.FlushToDisk</c> and <c>FileStream.Flush(true)</c> return normally when fsync fails.
/// All return 0 or the errno.
/// </summary>
internal static unsafe partial class NativeFile
{
    public const int TryAgain = 11; // EAGAIN, which is EWOULDBLOCK on Linux
    private const int Interrupted = 4; // EINTR
    private const int PopulateWrite = 23; // MADV_POPULATE_WRITE, Linux 5.14

    public static int DataSync(SafeFileHandle file)
    {
        // Not repeated on EINTR either: after any failure the kernel may have dropped the pages and marked them clean.
        return FDataSync(file) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    public static int Sync(SafeFileHandle file) => FSync(file) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>Makes names in a folder durable: new, renamed or removed files.</summary>
    public static int SyncFolder(string path)
    {
        const int ReadOnly = 0;
        const int CloseOnExec = 0x80000;
        var descriptor = Open(path, ReadOnly | CloseOnExec);
        if (descriptor < 0)
        {
            return Marshal.GetLastPInvokeError();
        }

        using var handle = new SafeFileHandle(descriptor, ownsHandle: true);
        return Sync(handle);
    }

    /// <summary>Reserves blocks, so that a later store into the mapping cannot meet a full disk.</summary>
    public static int Allocate(SafeFileHandle file, long length)
    {
        int error;
        do
        {
            error = PosixFAllocate(file, 0, length);
        }
        while (error == Interrupted);
        return error;
    }

    /// <summary>Never waits: <see cref="TryAgain"/> when somebody else has it. The kernel lets go when the holder dies.</summary>
    public static int Lock(SafeFileHandle file, bool exclusive)
    {
        const int SharedNonBlocking = 1 | 4;
        const int ExclusiveNonBlocking = 2 | 4;
        return FLock(file, exclusive ? ExclusiveNonBlocking : SharedNonBlocking) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    /// <summary>Maps a whole file, shared: a store is in the page cache at once.</summary>
    public static int Map(SafeFileHandle file, long length, out byte* start)
    {
        const int ReadWrite = 1 | 2;
        const int Shared = 1;
        var address = MMap(0, (nuint)length, ReadWrite, Shared, file, 0);
        start = address == -1 ? null : (byte*)address;
        return address == -1 ? Marshal.GetLastPInvokeError() : 0;
    }

    public static void Unmap(byte* start, long length) => _ = MUnmap((nint)start, (nuint)length);

    /// <summary>Takes the page faults of a coming write here. Fails with a value where a store would raise SIGBUS.</summary>
    public static int Populate(byte* start, long length) =>
        MAdvise((nint)start, (nuint)length, PopulateWrite) == 0 ? 0 : Marshal.GetLastPInvokeError();

    public static string Describe(int error) => $"errno {error}: {Marshal.GetPInvokeErrorMessage(error)}";

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int FDataSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int FSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "posix_fallocate")]
    private static partial int PosixFAllocate(SafeFileHandle file, long offset, long length);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int FLock(SafeFileHandle file, int operation);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint MMap(nint address, nuint length, int protection, int flags, SafeFileHandle file, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int MUnmap(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    private static partial int MAdvise(nint address, nuint length, int advice);
}
