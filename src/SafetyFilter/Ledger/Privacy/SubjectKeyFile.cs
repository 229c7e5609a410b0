using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using Microsoft.Win32.SafeHandles;

namespace SafetyFilter.Ledger.Privacy;

/// <summary>
/// A file of subject keys as auditors and erasers have it: read as it is now, also while a sidecar uses it. A sidecar reads each key from
/// the same file at each use, so a key destroyed here is gone there at once. Not thread-safe.
/// </summary>
internal sealed class SubjectKeyFile : IDisposable
{
    private readonly SafeFileHandle _file;
    private readonly string _path;
    private readonly byte[] _secret;
    private readonly Dictionary<UInt128, long> _slots = [];

    private SubjectKeyFile(SafeFileHandle file, string path, byte[] secret)
    {
        _file = file;
        _path = path;
        _secret = secret;
        foreach (var (offset, id, state) in Scan(file))
        {
            if (state != SlotState.Unreadable)
            {
                _slots[id] = offset;
            }
        }
    }

    /// <exception cref="LedgerException">It cannot be read, or is no file of subject keys.</exception>
    public static SubjectKeyFile Open(string path, bool forErasing = false)
    {
        var file = new SafeFileHandle();
        try
        {
            if (!File.Exists(path))
            {
                throw new LedgerException($"'{path}' does not exist. Name the file of subject keys: Ledger:Privacy:SubjectKeysFile, by default subjects.keys in the spool folder.");
            }

            file = forErasing ? NativeFile.OpenOrCreate(path, out var error) : NativeFile.OpenRead(path, out error);
            if (error != 0)
            {
                throw new LedgerException($"'{path}' cannot be opened ({NativeFile.Describe(error)}).");
            }

            return new SubjectKeyFile(file, path, ReadSecret(file, path));
        }
        catch (Exception error)
        {
            file.Dispose();
            if (error is IOException or UnauthorizedAccessException)
            {
                throw new LedgerException($"'{path}' cannot be read: {error.Message}", error);
            }

            throw;
        }
    }

    /// <summary>The key of this id, 32 bytes. Otherwise the state says why there is none: Free when the file does not know the id.</summary>
    public SlotState TryGetKey(ReadOnlySpan<byte> keyId, [NotNull] out byte[]? key)
    {
        key = [];
        if (keyId.Length != SubjectSlot.IdLength || !_slots.TryGetValue(BinaryPrimitives.ReadUInt128BigEndian(keyId), out var offset))
        {
            return SlotState.Free;
        }

        Span<byte> slot = stackalloc byte[SubjectSlot.Length];
        var state = RandomAccess.Read(_file, slot, offset) == slot.Length ? SubjectSlot.Read(slot, out _) : SlotState.Unreadable;
        if (state == SlotState.Live)
        {
            key = SubjectSlot.KeyOf(slot).ToArray();
        }

        return state;
    }

    /// <summary>Destroys all keys that a subject has. Returns how many there were; 0 when none is left to destroy.</summary>
    /// <exception cref="LedgerException">The disk did not confirm it: the keys may still be there.</exception>
    public int Erase(ReadOnlySpan<byte> subject)
    {
        Span<byte> root = stackalloc byte[32];
        Span<byte> slot = stackalloc byte[SubjectSlot.Length];
        SubjectSlot.RootOf(_secret, subject, root);
        var destroyed = 0;
        var error = 0;
        for (var generation = 0; error == 0 && _slots.TryGetValue(SubjectSlot.IdOf(root, generation), out var offset); generation++)
        {
            if (RandomAccess.Read(_file, slot, offset) != slot.Length || SubjectSlot.Read(slot, out _) != SlotState.Live)
            {
                continue;
            }

            SubjectSlot.Destroy(slot);
            error = NativeFile.Write(_file, slot, offset);
            destroyed++;
        }

        // Also when nothing was left to do: an earlier call may have failed right here.
        error = error != 0 ? error : NativeFile.DataSync(_file);
        if (error != 0)
        {
            throw new LedgerException($"The disk did not confirm the erasure in '{_path}' ({NativeFile.Describe(error)}). Replace the disk and destroy the old one.");
        }

        return destroyed;
    }

    public void Dispose() => _file.Dispose();

    internal static byte[] ReadSecret(SafeFileHandle file, string path)
    {
        Span<byte> header = stackalloc byte[SubjectSlot.HeaderLength];
        return RandomAccess.Read(file, header, 0) == header.Length && SubjectSlot.TryReadHeader(header, out var secret)
            ? secret
            : throw new LedgerException(
                $"'{path}' is no file of subject keys, or its header is damaged. Restore it; if that cannot be, move it away: what was sealed under its keys is then erased.");
    }

    /// <summary>All slots with an id, by offset. Reads to the end: after a loss of power there may be holes.</summary>
    internal static IEnumerable<(long Offset, UInt128 Id, SlotState State)> Scan(SafeFileHandle file)
    {
        var buffer = new byte[SubjectSlot.Length * 1024];
        for (long at = SubjectSlot.HeaderLength; ;)
        {
            var slots = RandomAccess.Read(file, buffer, at) / SubjectSlot.Length;
            for (var i = 0; i < slots; i++)
            {
                var state = SubjectSlot.Read(buffer.AsSpan(i * SubjectSlot.Length, SubjectSlot.Length), out var id);
                if (state != SlotState.Free)
                {
                    yield return (at + i * SubjectSlot.Length, id, state);
                }
            }

            if (slots == 0)
            {
                yield break;
            }

            at += (long)slots * SubjectSlot.Length;
        }
    }
}
