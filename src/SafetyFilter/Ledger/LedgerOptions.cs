namespace SafetyFilter.Ledger;

/// <summary>Configuration section <c>Ledger</c>.</summary>
internal sealed class LedgerOptions
{
    public SpoolOptions Spool { get; set; } = new();

    public KafkaOptions Kafka { get; set; } = new();

    public PrivacyOptions Privacy { get; set; } = new();

    public ArchiveOptions Archive { get; set; } = new();
}

/// <summary>Configuration section <c>Ledger:Privacy</c>: the keys of policies that hash or seal. Files are relative to the spool folder, or absolute.</summary>
internal sealed class PrivacyOptions
{
    /// <summary>32 bytes in base64 on a line; made when a policy hashes and there is none. Sidecars that share it have comparable hashes.</summary>
    public string HashKeyFile { get; set; } = "hash.key";

    /// <summary>A key per subject; made when a policy seals. A file of its own per sidecar.</summary>
    public string SubjectKeysFile { get; set; } = "subjects.keys";

    /// <summary>1,000,000: 64 bytes of disk and about 40 of memory each. Past it, what would be sealed for new subjects is masked.</summary>
    public int MaxSubjects { get; set; } = 1_000_000;
}

/// <summary>Configuration section <c>Ledger:Archive</c>.</summary>
internal sealed class ArchiveOptions
{
    /// <summary>
    /// Where policies and bundles that served are kept by digest, for whoever recomputes decisions later; relative to the spool folder,
    /// or absolute. Empty: nowhere. Only grows: a bundle is a few MiB, and new ones are rare.
    /// </summary>
    public string Folder { get; set; } = "archive";
}

/// <summary>Configuration section <c>Ledger:Spool</c>.</summary>
internal sealed class SpoolOptions
{
    /// <summary>The folder that holds the stream; made when missing. One process at a time. Use a volume that outlives the process.</summary>
    public string Folder { get; set; } = "ledger";

    /// <summary>64 MiB: preallocated one ahead, so that a full disk is seen this much before it matters.</summary>
    public long SegmentBytes { get; set; } = 64L << 20;

    /// <summary>
    /// 0: as large as the rest allows. That is 16 MiB without Kafka, which a thousand candidates with every attribute at its
    /// limit stay below, and 990,000 bytes with it, so that record, headers and batch fit a topic with Kafka's own
    /// max.message.bytes of about 1 MiB. Must fit a segment, and the topic if larger.
    /// </summary>
    public int MaxRecordBytes { get; set; }

    /// <summary>100 ms: what a loss of power may cost at the level "process". fdatasync was seen to take up to 184 ms.</summary>
    public TimeSpan SyncInterval { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>1 ms, the ranker's patience: how long an append may wait for the next segment before it is refused.</summary>
    public TimeSpan AppendPatience { get; set; } = TimeSpan.FromMilliseconds(1);

    /// <summary>What <see cref="MaxRecordBytes"/> comes to.</summary>
    public int RecordLimit(bool publishes) =>
        MaxRecordBytes != 0 ? MaxRecordBytes : publishes ? 990_000 : SegmentFormat.MaxPayload;
}

/// <summary>Configuration section <c>Ledger:Kafka</c>. Off unless <see cref="BootstrapServers"/> is set.</summary>
internal sealed class KafkaOptions
{
    /// <summary>host:port, comma separated. Empty: the spool is the ledger and nothing in it is ever deleted.</summary>
    public string BootstrapServers { get; set; } = "";

    public string Topic { get; set; } = "safetyfilter.decisions";

    /// <summary>The partition of this stream. -1: chosen once by hash of the stream id, then kept with the cursor.</summary>
    public int Partition { get; set; } = -1;

    /// <summary>The CloudEvents attribute <c>source</c> of every record.</summary>
    public string Source { get; set; } = "/safetyfilter";

    /// <summary>lz4: cheapest in CPU for what it saves. One of none, gzip, snappy, lz4, zstd.</summary>
    public string Compression { get; set; } = "lz4";

    /// <summary>20 ms: batches form, and the record stays well inside the second that a checkpoint takes.</summary>
    public TimeSpan Linger { get; set; } = TimeSpan.FromMilliseconds(20);

    /// <summary>16 MiB: what waits for acknowledgement in memory. The rest waits in the spool.</summary>
    public int MaxInFlightBytes { get; set; } = 16 << 20;

    /// <summary>10,000, for the same reason, when records are small.</summary>
    public int MaxInFlightRecords { get; set; } = 10_000;

    /// <summary>1 s: how much a restart publishes again, at most.</summary>
    public TimeSpan CursorInterval { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>0: a segment goes as soon as Kafka has acknowledged all of it. More keeps the newest published ones up to this size.</summary>
    public long RetainPublishedBytes { get; set; }

    /// <summary>Any other librdkafka setting by its own name, e.g. <c>security.protocol</c>, <c>sasl.username</c>, <c>ssl.ca.location</c>.</summary>
    public Dictionary<string, string> Producer { get; set; } = [];

    public bool Enabled => BootstrapServers.Length > 0;
}
