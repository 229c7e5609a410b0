namespace SafetyFilter.Ledger;

/// <summary>Configuration section <c>Ledger</c>.</summary>
internal sealed class LedgerOptions
{
    public SpoolOptions Spool { get; set; } = new();

    public SigningOptions Signing { get; set; } = new();

    public KafkaOptions Kafka { get; set; } = new();

    public PrivacyOptions Privacy { get; set; } = new();

    public ArchiveOptions Archive { get; set; } = new();
}

/// <summary>Configuration section <c>Ledger:Privacy</c>: the keys of policies that hash or seal. Files are relative to the spool folder, or absolute.</summary>
internal sealed class PrivacyOptions
{
    /// <summary>32 bytes in base64 on a line; made when a policy hashes and there is none, beside its records by default. Sidecars that share it have comparable hashes.</summary>
    public string HashKeyFile { get; set; } = "hash.key";

    /// <summary>A key per subject; made when a policy seals, beside its records by default. A file of its own per sidecar.</summary>
    public string SubjectKeysFile { get; set; } = "subjects.keys";

    /// <summary>1,000,000, chosen: 64 bytes of disk and about 40 of memory each. Past it, what would be sealed for new subjects is masked.</summary>
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
    /// <summary>The folder that holds the stream; made when missing. One process at a time. Default: the working directory's, which works without a choice; use a volume that
    /// outlives the process.</summary>
    public string Folder { get; set; } = "ledger";

    /// <summary>64 MiB, 20 s of 1,000 decisions a second with 3 KB each: preallocated one ahead, so that a full disk is seen this much before it matters.</summary>
    public long SegmentBytes { get; set; } = 64L << 20;

    /// <summary>
    /// 0: as large as the rest allows. That is 16 MiB without Kafka, which a thousand candidates with every attribute at its
    /// limit stay below, and 990,000 bytes with it, so that record, headers and batch fit a topic with Kafka's own
    /// max.message.bytes of about 1 MiB. Must fit a segment, and the topic if larger.
    /// </summary>
    public int MaxRecordBytes { get; set; }

    /// <summary>100 ms: what a loss of power may cost at the level "process". fdatasync was seen to take up to 184 ms.</summary>
    public TimeSpan SyncInterval { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>
    /// 1 ms: how long an answer may wait for the next segment (levels "process" and "disk"), which is made ahead and seldom late.
    /// The wait holds a thread. Then the record is late, and the surface's policy says what that means.
    /// </summary>
    public TimeSpan AppendPatience { get; set; } = TimeSpan.FromMilliseconds(1);

    /// <summary>
    /// 10 ms: how long an answer may wait for the disk (level "disk"), without a thread. The p99 of fdatasync was measured as 9.9 ms
    /// on a shared virtual machine. Then the record is late, as above.
    /// </summary>
    public TimeSpan DiskPatience { get; set; } = TimeSpan.FromMilliseconds(10);

    /// <summary>
    /// 16 MiB, about 5 s of 1,000 decisions a second with 3 KB each: records that wait in memory for a segment. 0: none do.
    /// </summary>
    public int MemoryBacklogBytes { get; set; } = 16 << 20;

    /// <summary>
    /// 0: the volume's size is the limit. Otherwise the stream's folder does not grow past this, and a spool at its limit is a
    /// full disk: for a volume that others use too.
    /// </summary>
    public long MaxBytes { get; set; }

    /// <summary>
    /// 1 GiB, 16 segments of the default size, some minutes of 1,000 decisions a second: with less space left a warning is logged.
    /// </summary>
    public long WarnFreeBytes { get; set; } = 1L << 30;

    /// <summary>What <see cref="MaxRecordBytes"/> comes to.</summary>
    public int RecordLimit(bool publishes) =>
        MaxRecordBytes != 0 ? MaxRecordBytes : publishes ? 990_000 : SegmentFormat.MaxPayload;
}

/// <summary>Configuration section <c>Ledger:Signing</c>. Checkpoints are always signed.</summary>
internal sealed class SigningOptions
{
    /// <summary>
    /// Empty: <c>identity.key</c> in the spool's folder. The key that certifies each run's own key; made when missing, so that a
    /// first start needs nothing. Whoever can read it can speak for this ledger: mount it from where secrets are kept, or let the host
    /// register an <see cref="IIdentitySigner"/> over a key service. That one wins: no file is read or made then.
    /// </summary>
    public string IdentityKeyFile { get; set; } = "";

    /// <summary>
    /// 10 s: how long a start waits for each of the two answers of an <see cref="IIdentitySigner"/>, which take a key service some 10 to
    /// 100 ms. Then it refuses: an epoch that nobody certified would be a finding to every auditor who pinned the identity.
    /// </summary>
    public TimeSpan IdentityPatience { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>1 s while records come: what a ledger rewritten later could hide, where CloudTrail takes an hour and SQL ledgers 30 s.</summary>
    public TimeSpan CheckpointInterval { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>1,000, chosen: sooner than the interval under load, at the next sync. A restart reads about this many records to find its tree.</summary>
    public int CheckpointRecords { get; set; } = 1000;

    /// <summary>10 s while none come, chosen: a stream without a fresh checkpoint is dead, and an alert need not know sooner.</summary>
    public TimeSpan HeartbeatInterval { get; set; } = TimeSpan.FromSeconds(10);
}

/// <summary>Configuration section <c>Ledger:Kafka</c>. Off unless <see cref="BootstrapServers"/> is set.</summary>
internal sealed class KafkaOptions
{
    /// <summary>host:port, comma separated. Empty: the spool is the ledger and nothing in it is ever deleted.</summary>
    public string BootstrapServers { get; set; } = "";

    /// <summary>The topic of every record. A name, to begin with.</summary>
    public string Topic { get; set; } = "safetyfilter.decisions";

    /// <summary>
    /// Takes every EpochStart, Checkpoint and EpochEnd a second time: what a witness needs, with other readers and another retention than
    /// decisions, and so with a topic of its own. Such a record counts as published when both topics have it. Empty: off.
    /// </summary>
    public string CheckpointTopic { get; set; } = "safetyfilter.checkpoints";

    /// <summary>The partition of this stream. -1: chosen once by hash of the stream id, then kept with the cursor: sidecars spread without being told.</summary>
    public int Partition { get; set; } = -1;

    /// <summary>The CloudEvents attribute <c>source</c> of every record. A name, to begin with.</summary>
    public string Source { get; set; } = "/safetyfilter";

    /// <summary>lz4, chosen as the cheapest in CPU for what it saves and not measured here. One of none, gzip, snappy, lz4, zstd.</summary>
    public string Compression { get; set; } = "lz4";

    /// <summary>20 ms: batches form, and the record stays well inside the second that a checkpoint takes.</summary>
    public TimeSpan Linger { get; set; } = TimeSpan.FromMilliseconds(20);

    /// <summary>16 MiB, about 5 s of 1,000 decisions a second with 3 KB each: what waits for acknowledgement in memory. The rest waits in the spool.</summary>
    public int MaxInFlightBytes { get; set; } = 16 << 20;

    /// <summary>10,000, for the same reason, when records are small.</summary>
    public int MaxInFlightRecords { get; set; } = 10_000;

    /// <summary>1 s, chosen: how much a restart publishes again, at most.</summary>
    public TimeSpan CursorInterval { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// 10 s: the longest pause before another producer is tried after an error that no retry mends, such as a missing
    /// permission. The pause doubles from 200 ms, so that a mended permission is found soon and a lasting one costs little.
    /// </summary>
    public TimeSpan LongestBackoff { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>0: a segment goes as soon as Kafka has acknowledged all of it. More keeps the newest published ones up to this size.</summary>
    public long RetainPublishedBytes { get; set; }

    /// <summary>Any other librdkafka setting by its own name, e.g. <c>security.protocol</c>, <c>sasl.username</c>, <c>ssl.ca.location</c>.</summary>
    public Dictionary<string, string> Producer { get; set; } = [];

    public bool Enabled => BootstrapServers.Length > 0;
}
