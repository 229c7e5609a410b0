using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace SafetyFilter.Tests.Ledger.CrashModel;

/// <summary>Which file a name or a descriptor means: a rename keeps the inode, a new file of the same name has another.</summary>
internal static unsafe partial class FileStat
{
    public static ulong Inode(string path)
    {
        var inode = Inode(WorkingDirectory, path, DoNotFollow);
        return inode ?? throw new IOException($"statx of '{path}' failed.");
    }

    public static ulong Inode(SafeFileHandle file)
    {
        var added = false;
        file.DangerousAddRef(ref added);
        try
        {
            return Inode((int)file.DangerousGetHandle(), "", EmptyPath) ?? throw new IOException("statx of a descriptor failed.");
        }
        finally
        {
            file.DangerousRelease();
        }
    }

    private const int WorkingDirectory = -100;
    private const int DoNotFollow = 0x100;
    private const int EmptyPath = 0x1000;

    private static ulong? Inode(int folder, string path, int flags)
    {
        const uint BasicStats = 0x7ff;
        const int InodeOffset = 32;
        var stat = stackalloc byte[256];
        var bytes = Encoding.UTF8.GetByteCount(path);
        var name = stackalloc byte[bytes + 1];
        Encoding.UTF8.GetBytes(path, new Span<byte>(name, bytes));
        name[bytes] = 0;
        return Statx(folder, name, flags, BasicStats, stat) == 0 ? *(ulong*)(stat + InodeOffset) : null;
    }

    [LibraryImport("libc", EntryPoint = "statx")]
    private static partial int Statx(int folder, byte* path, int flags, uint mask, byte* stat);
}
