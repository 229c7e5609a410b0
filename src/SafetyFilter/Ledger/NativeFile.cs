using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace SafetyFilter.Ledger;

/// <summary>
/// The system calls that .NET does not offer, or offers without telling of failure: on Linux, .NET 10's
/// <c>RandomAccess.FlushToDisk</c> and <c>FileStream.Flush(true)</c> return normally when fsync fails, and <c>RandomAccess.Write</c> tells of a
/// file that may not grow (EFBIG) by an <see cref="ArgumentOutOfRangeException"/>, which nobody takes for a failing disk.
/// All return 0 or the errno.
/// </summary>
internal static unsafe partial class NativeFile
{
    public const int TryAgain = 11; // EAGAIN, which is EWOULDBLOCK on Linux
    private const int Interrupted = 4; // EINTR
    private const int ReadOnly = 0;
    private const int ReadWrite = 2;
    private const int Create = 0x40;
    private const int CloseOnExec = 0x80000;
    private const int PopulateWrite = 23; // MADV_POPULATE_WRITE, Linux 5.14

    public static int DataSync(SafeFileHandle file)
    {
        if (SpoolDisk.Model is { } model)
        {
            return model.DataSync(file);
        }

        // Not repeated on EINTR either: after any failure the kernel may have dropped the pages and marked them clean.
        return FDataSync(file) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    public static int Sync(SafeFileHandle file) =>
        SpoolDisk.Model is { } model ? model.Sync(file) : FSync(file) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>Makes names in a folder durable: new, renamed or removed files.</summary>
    public static int SyncFolder(string path)
    {
        if (SpoolDisk.Model is { } model)
        {
            return model.SyncFolder(path);
        }

        using var folder = OpenRead(path, out var error);
        return error != 0 ? error : Sync(folder);
    }

    /// <summary>Opens a file or folder without any lock of .NET's.</summary>
    public static SafeFileHandle OpenRead(string path, out int error) => Open(path, ReadOnly | CloseOnExec, out error);

    public static SafeFileHandle OpenOrCreate(string path, out int error) => Open(path, ReadWrite | Create | CloseOnExec, out error);

    /// <summary>Writes all of it; on failure the file may have the beginning.</summary>
    public static int Write(SafeFileHandle file, ReadOnlySpan<byte> bytes, long offset)
    {
        const int NoProgress = 5; // EIO
        fixed (byte* start = bytes)
        {
            for (var done = 0; done < bytes.Length;)
            {
                var written = PWrite(file, start + done, (nuint)(bytes.Length - done), offset + done);
                if (written > 0)
                {
                    done += (int)written;
                }
                else if (written == 0 || Marshal.GetLastPInvokeError() != Interrupted)
                {
                    return written == 0 ? NoProgress : Marshal.GetLastPInvokeError();
                }
            }
        }

        return 0;
    }

    /// <summary>Reserves blocks, so that a later store into the mapping cannot meet a full disk.</summary>
    public static int Allocate(SafeFileHandle file, long length)
    {
        if (SpoolDisk.Model?.BeforeAllocate(file) is { } refused and not 0)
        {
            return refused;
        }

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
        const int ReadAndWrite = 1 | 2;
        const int Shared = 1;
        var address = MMap(0, (nuint)length, ReadAndWrite, Shared, file, 0);
        start = address == -1 ? null : (byte*)address;
        return address == -1 ? Marshal.GetLastPInvokeError() : 0;
    }

    public static void Unmap(byte* start, long length) => _ = MUnmap((nint)start, (nuint)length);

    /// <summary>Takes the page faults of a coming write here. Fails with a value where a store would raise SIGBUS.</summary>
    public static int Populate(byte* start, long length) =>
        MAdvise((nint)start, (nuint)length, PopulateWrite) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>Gives a file a second name: at once, and without needing space for its bytes.</summary>
    public static int Link(string path, string target) => HardLink(path, target) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>Deletes a file if it can: it may be gone, or on a disk that is.</summary>
    public static void Remove(string path) => _ = Unlink(path);

    public static string Describe(int error) => $"errno {error}: {Marshal.GetPInvokeErrorMessage(error)}";

    private static SafeFileHandle Open(string path, int flags, out int error)
    {
        const int OwnerAndGroup = 0x1A0; // 0640
        var descriptor = Open(path, flags, OwnerAndGroup);
        error = descriptor < 0 ? Marshal.GetLastPInvokeError() : 0;
        return new SafeFileHandle(descriptor, ownsHandle: true);
    }

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int FDataSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int FSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "pwrite", SetLastError = true)]
    private static partial nint PWrite(SafeFileHandle file, byte* bytes, nuint count, long offset);

    [LibraryImport("libc", EntryPoint = "posix_fallocate")]
    private static partial int PosixFAllocate(SafeFileHandle file, long offset, long length);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int FLock(SafeFileHandle file, int operation);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint MMap(nint address, nuint length, int protection, int flags, SafeFileHandle file, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int MUnmap(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    private static partial int MAdvise(nint address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "link", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int HardLink(string path, string target);

    [LibraryImport("libc", EntryPoint = "unlink", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Unlink(string path);
}
