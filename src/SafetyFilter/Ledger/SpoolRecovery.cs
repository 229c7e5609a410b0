using System.Buffers.Binary;
using System.Globalization;

namespace SafetyFilter.Ledger;

/// <summary>What the previous run left behind, and what was done about it.</summary>
/// <param name="PreviousEpoch">The epoch of the last record; 0 for a new stream.</param>
/// <param name="NextEpoch">Higher than any that was ever begun here, also one that left no record.</param>
/// <param name="LastSequence">The last sequence that must not be used again; 0 for a new stream.</param>
/// <param name="OnDisk">The same without what only the publisher's cursor knows of.</param>
/// <param name="BytesCutOff">Of a torn tail. The bytes are kept in the quarantine folder.</param>
/// <param name="Damages">Damaged places other than a torn tail. Their segments are in the quarantine folder too.</param>
/// <param name="Spare">A segment that the previous run prepared and never used; null when there is none of the right length.</param>
internal sealed record RecoveryReport(
    uint PreviousEpoch,
    uint NextEpoch,
    ulong LastSequence,
    ulong OnDisk,
    bool PreviousEndedCleanly,
    long BytesCutOff,
    IReadOnlyList<SpoolDamage> Damages,
    string? Spare = null);

/// <summary>
/// Brings a stream's folder into a state from which a new run can start. Reads the newest segment only: older ones were
/// complete when the newest was begun, and whoever reads them reports what became of them since.
/// </summary>
internal static class SpoolRecovery
{
    public static RecoveryReport Run(string streamFolder, Guid streamId, uint lastEpoch, long segmentBytes)
    {
        var spare = AdoptSpares(streamFolder, streamId, segmentBytes);
        DeleteLeftovers(streamFolder);
        RewriteDoubted(streamFolder);
        SyncUnfinished(streamFolder);
        var damages = new List<SpoolDamage>();
        long cutOff = 0;
        while (true)
        {
            var segments = SpoolFolder.Segments(streamFolder);
            var published = PublishCursor.Read(streamFolder)?.PublishedThrough ?? 0;
            if (segments.Count == 0)
            {
                return new RecoveryReport(published == 0 ? 0 : lastEpoch, lastEpoch + 1, published, 0, false, cutOff, damages, spare);
            }

            var (first, path) = segments[^1];
            var end = Examine(path, damages, out var last, out var epoch, out var type, out var torn);
            if (torn is { } tail)
            {
                // What is preallocated behind it goes first: on a full disk the copy needs that room.
                cutOff += tail.Length;
                Seal(path, tail.Offset + tail.Length);
                CopyAside(streamFolder, path, tail.Offset, tail.Length, ".torn");
            }

            if (last == 0)
            {
                // Begun and never filled: its name would be used again.
                KeepAsideIfDamaged(streamFolder, path, damages);
                File.Delete(path);
                continue;
            }

            KeepAsideIfDamaged(streamFolder, path, damages);
            Seal(path, end);

            // After a loss of power Kafka may know more than the disk does: never give a number twice.
            return new RecoveryReport(
                epoch == 0 ? lastEpoch : epoch, Math.Max(epoch, lastEpoch) + 1, Math.Max(last, published), last, type == RecordType.EpochEnd,
                cutOff, damages, spare);
        }
    }

    /// <summary>Gives a damaged segment a second name in the quarantine folder, once: the first one goes when it is published.</summary>
    /// <returns>That name.</returns>
    public static string KeepWhole(string streamFolder, string path)
    {
        var name = Path.GetFileName(path) + ".0.damaged";
        if (!File.Exists(Path.Combine(streamFolder, SpoolFolder.Quarantine, name)))
        {
            LinkAside(streamFolder, path);
        }

        return name;
    }

    /// <summary>A process killed between taking a spare and renaming it leaves records under the spare's name.</summary>
    /// <returns>A spare that this run can begin with, so that a full disk does not stop it.</returns>
    private static string? AdoptSpares(string streamFolder, Guid streamId, long segmentBytes)
    {
        string? unused = null;
        foreach (var path in Directory.GetFiles(streamFolder, "*" + SpoolFolder.SpareExtension))
        {
            var header = new byte[SegmentFormat.FileHeaderLength];
            long length;
            using (var file = File.OpenHandle(path))
            {
                RandomAccess.Read(file, header, 0);
                length = RandomAccess.GetLength(file);
            }

            if (SegmentFormat.TryReadFileHeader(header, out var values) && values.StreamId == streamId
                && Path.Combine(streamFolder, SpoolFolder.SegmentName(values.FirstSequence)) is var segment && !File.Exists(segment))
            {
                File.Move(path, segment);
            }
            else if (!IsZero(path))
            {
                LinkAside(streamFolder, path);
                File.Delete(path);
            }
            else if (unused is null && length == segmentBytes)
            {
                unused = path;
            }
            else
            {
                File.Delete(path);
            }
        }

        return unused;
    }

    private static bool IsZero(string path)
    {
        using var file = File.OpenHandle(path);
        var chunk = new byte[1 << 20];
        int read;
        for (long offset = 0; (read = RandomAccess.Read(file, chunk, offset)) > 0; offset += read)
        {
            if (chunk.AsSpan(0, read).ContainsAnyExcept((byte)0))
            {
                return false;
            }
        }

        return true;
    }

    private static void DeleteLeftovers(string streamFolder)
    {
        foreach (var path in Directory.GetFiles(streamFolder, "*.rewrite"))
        {
            File.Delete(path);
        }
    }

    /// <summary>A run whose fdatasync failed was killed before it had written the records again: a sync now would be a lie.</summary>
    private static void RewriteDoubted(string streamFolder)
    {
        foreach (var mark in Directory.GetFiles(streamFolder, "*" + SpoolFolder.DoubtExtension))
        {
            var path = mark[..^SpoolFolder.DoubtExtension.Length];
            if (File.Exists(path))
            {
                var copy = path + ".rewrite";
                Copy(path, 0, long.MaxValue, copy);
                File.Move(copy, path, overwrite: true);
                ThrowIf(NativeFile.SyncFolder(streamFolder), path);
            }

            File.Delete(mark);
        }
    }

    private static void Sync(string path)
    {
        using var file = NativeFile.OpenRead(path, out var error);
        ThrowIf(error != 0 ? error : NativeFile.Sync(file), path);
    }

    /// <summary>
    /// Full segments that a killed run had no time for: they are whole, but only in the page cache, and this run's first sync
    /// would call them durable. A finished segment was synced before it was cut to its length, which is seldom one of whole pages.
    /// </summary>
    private static void SyncUnfinished(string streamFolder)
    {
        const long Page = 4096;
        foreach (var (_, path) in SpoolFolder.Segments(streamFolder))
        {
            if (new FileInfo(path).Length % Page == 0)
            {
                Sync(path);
            }
        }
    }

    private static long Examine(
        string path, List<SpoolDamage> damages, out ulong last, out uint epoch, out RecordType type, out SpoolDamage? torn)
    {
        last = 0;
        epoch = 0;
        type = default;
        torn = null;
        ulong lost = 0;
        long end = SegmentFormat.FileHeaderLength;
        using var reader = SpoolReader.OpenSegment(path);
        while (true)
        {
            switch (reader.Read())
            {
                case SpoolRead.End:
                    last = Math.Max(last, lost);
                    return end;
                case SpoolRead.Damage when reader.Damage.Kind == DamageKind.TornTail:
                    torn = reader.Damage;
                    break;
                case SpoolRead.Damage when reader.Damage.Kind == DamageKind.Unreadable:
                    throw new LedgerException(
                        $"The newest segment '{path}' cannot be read ({reader.Damage.Reason}), so the next sequence is unknown. " +
                        "Repair the disk or its permissions.");
                case SpoolRead.Damage:
                    var damage = reader.Damage;
                    damages.Add(damage);
                    if (damage.Kind == DamageKind.Frame)
                    {
                        // If no record follows: these were acknowledged, so they stay and their numbers are not given again.
                        lost = damage.AfterSequence + CountFrames(path, damage);
                        end = (damage.Offset + damage.Length + 7) & ~7L;
                    }

                    break;
                default:
                    lost = 0;
                    last = reader.Sequence;
                    epoch = reader.Epoch;
                    type = reader.Type;
                    end = reader.Position;
                    break;
            }
        }
    }

    private static void KeepAsideIfDamaged(string streamFolder, string path, List<SpoolDamage> damages)
    {
        if (damages.Exists(damage => string.Equals(damage.Path, path, StringComparison.Ordinal)))
        {
            KeepWhole(streamFolder, path);
        }
    }

    /// <summary>How many records stood in the damaged bytes at least: one, and more where one length leads to the next.</summary>
    private static ulong CountFrames(string path, in SpoolDamage damage)
    {
        using var file = File.OpenHandle(path, share: FileShare.ReadWrite | FileShare.Delete);
        Span<byte> word = stackalloc byte[sizeof(uint)];
        ulong count = 0;
        for (var offset = damage.Offset; offset < damage.Offset + damage.Length; count++)
        {
            var read = RandomAccess.Read(file, word, offset);
            var length = BinaryPrimitives.ReadUInt32LittleEndian(word);
            if (read < sizeof(uint) || length is < SegmentFormat.TrailerLength or > SegmentFormat.MaxPayload)
            {
                break;
            }

            offset += SegmentFormat.FrameLength((int)length);
        }

        return Math.Max(count, 1);
    }

    private static void LinkAside(string streamFolder, string path)
    {
        var target = NewName(streamFolder, path, 0, ".damaged");
        if (NativeFile.Link(path, target) != 0)
        {
            // A file system without hard links.
            CopyAside(streamFolder, path, 0, long.MaxValue, ".damaged");
            return;
        }

        ThrowIf(NativeFile.SyncFolder(Path.GetDirectoryName(target)!), target);
    }

    private static void CopyAside(string streamFolder, string path, long offset, long length, string suffix)
    {
        var target = NewName(streamFolder, path, offset, suffix);
        var temporary = target + ".tmp";
        try
        {
            Copy(path, offset, length, temporary);
            File.Move(temporary, target);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            NativeFile.Remove(temporary);
            throw new LedgerException($"Bytes of '{path}' cannot be kept as '{target}': {error.Message} Free space, or make the folder writable.", error);
        }

        ThrowIf(NativeFile.SyncFolder(Path.GetDirectoryName(target)!), target);
    }

    /// <summary>Durably; an <see cref="IOException"/> when not all of it can be written.</summary>
    private static void Copy(string path, long offset, long length, string target)
    {
        using var source = File.OpenHandle(path, share: FileShare.ReadWrite | FileShare.Delete);
        using var copy = File.OpenHandle(target, FileMode.Create, FileAccess.Write);
        var chunk = new byte[1 << 20];
        int read;
        for (long done = 0; done < length; done += read)
        {
            read = RandomAccess.Read(source, chunk.AsSpan(0, (int)Math.Min(chunk.Length, length - done)), offset + done);
            if (read == 0)
            {
                break;
            }

            if (NativeFile.Write(copy, chunk.AsSpan(0, read), done) is not 0 and var error)
            {
                throw new IOException($"'{target}': {NativeFile.Describe(error)}.");
            }
        }

        ThrowIf(NativeFile.Sync(copy), target);
    }

    private static string NewName(string streamFolder, string path, long offset, string suffix)
    {
        var folder = Path.Combine(streamFolder, SpoolFolder.Quarantine);
        SpoolFolder.Create(folder);
        var name = string.Create(CultureInfo.InvariantCulture, $"{Path.GetFileName(path)}.{offset}");
        var target = Path.Combine(folder, name + suffix);
        for (var attempt = 2; File.Exists(target); attempt++)
        {
            target = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{name}-{attempt}{suffix}"));
        }

        return target;
    }

    private static void Seal(string path, long end)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        if (RandomAccess.GetLength(file) > end)
        {
            RandomAccess.SetLength(file, end);
        }

        ThrowIf(NativeFile.Sync(file), path);
        ThrowIf(NativeFile.SyncFolder(Path.GetDirectoryName(path)!), path);
    }

    private static void ThrowIf(int error, string path)
    {
        if (error != 0)
        {
            throw new LedgerException($"'{path}' cannot be made durable ({NativeFile.Describe(error)}). Check the disk.");
        }
    }
}
