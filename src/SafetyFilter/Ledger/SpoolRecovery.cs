namespace SafetyFilter.Ledger;

/// <summary>What the previous run left behind, and what was done about it.</summary>
/// <param name="PreviousEpoch">The epoch of the last record; 0 for a new stream.</param>
/// <param name="NextEpoch">Higher than any that was ever begun here, also one that left no record.</param>
/// <param name="LastSequence">The last sequence that must not be used again; 0 for a new stream.</param>
/// <param name="BytesCutOff">Of a torn tail. The bytes are kept in the quarantine folder.</param>
/// <param name="Damages">Damaged places other than a torn tail. Copies of their segments are in the quarantine folder.</param>
internal sealed record RecoveryReport(
    uint PreviousEpoch,
    uint NextEpoch,
    ulong LastSequence,
    bool PreviousEndedCleanly,
    long BytesCutOff,
    IReadOnlyList<SpoolDamage> Damages);

/// <summary>
/// Brings a stream's folder into a state from which a new run can start. Reads the newest segment only: older ones were
/// complete when the newest was begun, and whoever reads them reports what became of them since.
/// </summary>
internal static class SpoolRecovery
{
    public static RecoveryReport Run(string streamFolder, Guid streamId, uint lastEpoch)
    {
        AdoptSpares(streamFolder, streamId);
        DeleteLeftovers(streamFolder);
        var damages = new List<SpoolDamage>();
        long cutOff = 0;
        while (true)
        {
            var segments = SpoolFolder.Segments(streamFolder);
            var published = PublishCursor.Read(streamFolder)?.PublishedThrough ?? 0;
            if (segments.Count == 0)
            {
                return new RecoveryReport(published == 0 ? 0 : lastEpoch, lastEpoch + 1, published, false, cutOff, damages);
            }

            var (first, path) = segments[^1];
            var end = Examine(path, damages, out var last, out var epoch, out var type, out var torn);
            if (torn is { } tail)
            {
                cutOff += tail.Length;
                KeepAside(streamFolder, path, tail.Offset, tail.Length, ".torn");
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
                epoch, Math.Max(epoch, lastEpoch) + 1, Math.Max(last, published), type == RecordType.EpochEnd, cutOff, damages);
        }
    }

    /// <summary>Copies a damaged segment to the quarantine folder, once: the original goes when it is published.</summary>
    public static void KeepWhole(string streamFolder, string path)
    {
        if (!File.Exists(Path.Combine(streamFolder, SpoolFolder.Quarantine, Path.GetFileName(path) + ".0.damaged")))
        {
            KeepAside(streamFolder, path, 0, long.MaxValue, ".damaged");
        }
    }

    /// <summary>A process killed between taking a spare and renaming it leaves records under the spare's name.</summary>
    private static void AdoptSpares(string streamFolder, Guid streamId)
    {
        foreach (var path in Directory.GetFiles(streamFolder, "*" + SpoolFolder.SpareExtension))
        {
            var header = new byte[SegmentFormat.FileHeaderLength];
            using (var file = File.OpenHandle(path))
            {
                RandomAccess.Read(file, header, 0);
            }

            if (SegmentFormat.TryReadFileHeader(header, out var values) && values.StreamId == streamId)
            {
                File.Move(path, Path.Combine(streamFolder, SpoolFolder.SegmentName(values.FirstSequence)), overwrite: false);
            }
            else if (header.AsSpan().ContainsAnyExcept((byte)0))
            {
                KeepAside(streamFolder, path, 0, long.MaxValue, ".damaged");
                File.Delete(path);
            }
            else
            {
                File.Delete(path);
            }
        }
    }

    private static void DeleteLeftovers(string streamFolder)
    {
        foreach (var path in Directory.GetFiles(streamFolder, "*.rewrite"))
        {
            File.Delete(path);
        }
    }

    private static long Examine(
        string path, List<SpoolDamage> damages, out ulong last, out uint epoch, out RecordType type, out SpoolDamage? torn)
    {
        last = 0;
        epoch = 0;
        type = default;
        torn = null;
        long end = SegmentFormat.FileHeaderLength;
        using var reader = SpoolReader.OpenSegment(path);
        while (true)
        {
            switch (reader.Read())
            {
                case SpoolRead.End:
                    return end;
                case SpoolRead.Damage when reader.Damage.Kind == DamageKind.TornTail:
                    torn = reader.Damage;
                    break;
                case SpoolRead.Damage when reader.Damage.Kind == DamageKind.Unreadable:
                    throw new LedgerException(
                        $"The newest segment '{path}' cannot be read, so the next sequence is unknown. Repair the disk or its permissions.");
                case SpoolRead.Damage:
                    damages.Add(reader.Damage);
                    break;
                default:
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

    private static void KeepAside(string streamFolder, string path, long offset, long length, string suffix)
    {
        var folder = Path.Combine(streamFolder, SpoolFolder.Quarantine);
        SpoolFolder.Create(folder);
        var name = Path.GetFileName(path) + "." + offset.ToString(System.Globalization.CultureInfo.InvariantCulture);
        var target = Path.Combine(folder, name + suffix);
        for (var attempt = 2; File.Exists(target); attempt++)
        {
            target = Path.Combine(folder, $"{name}-{attempt}{suffix}");
        }

        File.Copy(path, target);
        using var copy = File.OpenHandle(target, FileMode.Open, FileAccess.ReadWrite);
        if (offset > 0)
        {
            var part = new byte[Math.Min(length, RandomAccess.GetLength(copy) - offset)];
            RandomAccess.Read(copy, part, offset);
            RandomAccess.SetLength(copy, part.Length);
            RandomAccess.Write(copy, part, 0);
        }

        ThrowIf(NativeFile.Sync(copy), target);
        ThrowIf(NativeFile.SyncFolder(folder), folder);
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
