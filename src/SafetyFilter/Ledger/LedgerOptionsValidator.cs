namespace SafetyFilter.Ledger;

/// <summary>All that is wrong with the options, each with section, value and remedy.</summary>
internal static class LedgerOptionsValidator
{
    private const long Page = 4096;

    // Settings that the publisher's promises rest on.
    private static readonly string[] Reserved =
        ["bootstrap.servers", "enable.idempotence", "acks", "message.timeout.ms", "enable.gapless.guarantee", "transactional.id"];

    public static List<string> Validate(LedgerOptions options)
    {
        var errors = new List<string>();
        var spool = options.Spool;
        var smallest = SegmentFormat.FileHeaderLength + SegmentFormat.FrameLength(spool.RecordLimit(options.Kafka.Enabled));
        Check(errors, spool.Folder.Length > 0, "Spool:Folder", spool.Folder, "Name a folder on a volume that outlives the process.");
        Check(errors, spool.MaxRecordBytes is 0 or (>= 1024 and <= SegmentFormat.MaxPayload), "Spool:MaxRecordBytes", spool.MaxRecordBytes,
            $"Use 1024 to {SegmentFormat.MaxPayload}, or 0 for what suits.");
        Check(errors, spool.SegmentBytes >= smallest && spool.SegmentBytes <= 1 << 30 && spool.SegmentBytes % Page == 0, "Spool:SegmentBytes",
            spool.SegmentBytes, $"Use a multiple of {Page} that holds a record of MaxRecordBytes (at least {smallest}), at most 1 GiB.");
        Check(errors, spool.SyncInterval >= TimeSpan.FromMilliseconds(1) && spool.SyncInterval <= TimeSpan.FromSeconds(10), "Spool:SyncInterval",
            spool.SyncInterval, "Use 1 ms to 10 s.");
        Check(errors, spool.AppendPatience >= TimeSpan.Zero && spool.AppendPatience <= TimeSpan.FromSeconds(10), "Spool:AppendPatience",
            spool.AppendPatience, "Use 0 to 10 s.");
        Check(errors, spool.DiskPatience >= TimeSpan.Zero && spool.DiskPatience <= TimeSpan.FromSeconds(10), "Spool:DiskPatience",
            spool.DiskPatience, "Use 0 (never wait for the disk) to 10 s.");
        Check(errors, spool.MemoryBacklogBytes is >= 0 and <= 1 << 30, "Spool:MemoryBacklogBytes", spool.MemoryBacklogBytes, "Use 0 (none) to 1 GiB.");
        Check(errors, spool.MaxBytes == 0 || spool.MaxBytes / 3 >= spool.SegmentBytes, "Spool:MaxBytes", spool.MaxBytes,
            "Use at least three times SegmentBytes, or 0 for what the volume has.");
        Check(errors, spool.WarnFreeBytes >= 0, "Spool:WarnFreeBytes", spool.WarnFreeBytes, "Use 0 (never warn) or more bytes.");

        var signing = options.Signing;
        Check(errors, signing.CheckpointInterval >= TimeSpan.FromMilliseconds(10) && signing.CheckpointInterval <= TimeSpan.FromMinutes(1),
            "Signing:CheckpointInterval", signing.CheckpointInterval, "Use 10 ms to 1 min.");
        Check(errors, signing.CheckpointRecords is >= 1 and <= 1_000_000, "Signing:CheckpointRecords", signing.CheckpointRecords,
            "Use 1 to 1,000,000.");
        Check(errors, signing.HeartbeatInterval >= signing.CheckpointInterval && signing.HeartbeatInterval <= TimeSpan.FromMinutes(10),
            "Signing:HeartbeatInterval", signing.HeartbeatInterval, "Use CheckpointInterval to 10 min.");

        Check(errors, signing.IdentityPatience >= TimeSpan.FromMilliseconds(10) && signing.IdentityPatience <= TimeSpan.FromMinutes(5),
            "Signing:IdentityPatience", signing.IdentityPatience, "Use 10 ms to 5 min.");

        var privacy = options.Privacy;
        Check(errors, privacy.HashKeyFile.Length > 0, "Privacy:HashKeyFile", privacy.HashKeyFile, "Name a file; it is made when a policy hashes.");
        Check(errors, privacy.SubjectKeysFile.Length > 0, "Privacy:SubjectKeysFile", privacy.SubjectKeysFile, "Name a file; it is made when a policy seals.");
        Check(errors, privacy.MaxSubjects is >= 1 and <= 100_000_000, "Privacy:MaxSubjects", privacy.MaxSubjects, "Use 1 to 100,000,000.");

        var kafka = options.Kafka;
        if (kafka.Enabled)
        {
            Check(errors, kafka.Topic.Length is > 0 and <= 249, "Kafka:Topic", kafka.Topic, "Use a topic name of 1 to 249 characters.");
            Check(errors, kafka.CheckpointTopic.Length <= 249 && !string.Equals(kafka.CheckpointTopic, kafka.Topic, StringComparison.Ordinal),
                "Kafka:CheckpointTopic", kafka.CheckpointTopic, "Use a topic name of its own, or nothing for none.");
            Check(errors, kafka.Source.Length > 0, "Kafka:Source", kafka.Source, "CloudEvents need a source; use a URI reference.");
            Check(errors, kafka.Partition >= -1, "Kafka:Partition", kafka.Partition, "Use a partition's number, or -1 to have it chosen.");
            Check(errors, kafka.Compression is "none" or "gzip" or "snappy" or "lz4" or "zstd", "Kafka:Compression", kafka.Compression,
                "Use none, gzip, snappy, lz4 or zstd.");
            Check(errors, kafka.Linger >= TimeSpan.Zero && kafka.Linger <= TimeSpan.FromSeconds(10), "Kafka:Linger", kafka.Linger, "Use 0 to 10 s.");
            Check(errors, kafka.MaxInFlightBytes is >= 1 << 20 and <= 32 << 20, "Kafka:MaxInFlightBytes", kafka.MaxInFlightBytes,
                "Use 1 MiB to 32 MiB.");
            Check(errors, kafka.MaxInFlightRecords is >= 1 and <= 1_000_000, "Kafka:MaxInFlightRecords", kafka.MaxInFlightRecords,
                "Use 1 to 1,000,000.");
            Check(errors, kafka.CursorInterval >= TimeSpan.Zero && kafka.CursorInterval <= TimeSpan.FromMinutes(1), "Kafka:CursorInterval",
                kafka.CursorInterval, "Use 0 to 1 min.");
            Check(errors, kafka.LongestBackoff >= TimeSpan.FromMilliseconds(200) && kafka.LongestBackoff <= TimeSpan.FromMinutes(5), "Kafka:LongestBackoff",
                kafka.LongestBackoff, "Use 200 ms to 5 min.");
            Check(errors, kafka.RetainPublishedBytes >= 0, "Kafka:RetainPublishedBytes", kafka.RetainPublishedBytes, "Use 0 or more bytes.");
            foreach (var (name, value) in kafka.Producer)
            {
                Check(errors, !name.StartsWith("dotnet.", StringComparison.Ordinal), $"Kafka:Producer:{name}", value,
                    "Remove it: settings of the .NET client are the ledger's.");
            }

            foreach (var name in Reserved)
            {
                if (kafka.Producer.TryGetValue(name, out var value))
                {
                    Check(errors, false, $"Kafka:Producer:{name}", value, "Remove it: the ledger sets it, because nothing may be lost or reordered.");
                }
            }
        }

        return errors;
    }

    private static void Check<T>(List<string> errors, bool holds, string name, T value, string remedy)
    {
        if (!holds)
        {
            errors.Add($"Ledger:{name} is '{value}'. {remedy}");
        }
    }
}
