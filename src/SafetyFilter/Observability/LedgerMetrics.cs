using System.Diagnostics.Metrics;

namespace SafetyFilter.Observability;

/// <summary>What the ledger's instruments show, read when somebody scrapes.</summary>
/// <param name="Records">Records appended by this run.</param>
/// <param name="Bytes">Their bytes with frames.</param>
/// <param name="Refused">Appends that found no room.</param>
/// <param name="SyncFailures">fdatasync calls that failed.</param>
/// <param name="NotDurable">Records that are not on the disk yet.</param>
/// <param name="Unpublished">Records that Kafka does not have yet; 0 without Kafka.</param>
/// <param name="OldestUnpublished">How long the oldest of them has waited.</param>
/// <param name="IsTroubled">Whether the disk fails.</param>
/// <param name="IsPublishingTroubled">Whether records wait for Kafka and something hinders them.</param>
/// <param name="Producers">Producers made; each after the first follows an error that the one before could not retry, or other settings.</param>
/// <param name="CursorFailures">Times that the publish cursor could not be saved.</param>
/// <param name="LostTotal">Decisions answered without a record since the stream began.</param>
/// <param name="BacklogBytes">Records that wait in memory for a segment.</param>
/// <param name="DiskWaits">Times that a request waited for the disk.</param>
/// <param name="FreeBytes">What the spool may still take; -1 when that is not known.</param>
/// <param name="Damages">Damaged places met in the spool, at the start and while publishing.</param>
/// <param name="Checkpoints">Checkpoints written by this run.</param>
/// <param name="NotaryFailures">Times that no checkpoint could be made.</param>
/// <param name="Unsigned">Records that no checkpoint covers yet.</param>
/// <param name="IsNotaryTroubled">Whether no checkpoint could be made when it was last tried.</param>
/// <param name="LostRecords">Records of the past that this run admitted to be lost.</param>
internal readonly record struct LedgerReading(
    long Records,
    long Bytes,
    long Refused,
    long SyncFailures,
    long NotDurable,
    long Unpublished,
    TimeSpan OldestUnpublished,
    bool IsTroubled,
    bool IsPublishingTroubled,
    long Producers,
    long CursorFailures,
    long LostTotal,
    long BacklogBytes,
    long DiskWaits,
    long FreeBytes,
    long Damages,
    long Checkpoints,
    long NotaryFailures,
    long Unsigned,
    bool IsNotaryTroubled,
    long LostRecords);

/// <summary>The instruments of the ledger. Names are stable: dashboards and alerts use them.</summary>
internal static class LedgerMetrics
{
    public static void Observe(Meter meter, Func<LedgerReading> read)
    {
        meter.CreateObservableCounter("safetyfilter.ledger.records", () => read().Records, "{record}", "Records appended to the spool");
        meter.CreateObservableCounter("safetyfilter.ledger.bytes", () => read().Bytes, "By", "Bytes appended to the spool");
        meter.CreateObservableCounter("safetyfilter.ledger.refused", () => read().Refused, "{record}", "Appends refused for lack of room: their requests were refused");
        meter.CreateObservableCounter("safetyfilter.ledger.sync_failures", () => read().SyncFailures, "{failure}", "fdatasync calls that failed");
        meter.CreateObservableGauge("safetyfilter.ledger.not_durable", () => read().NotDurable, "{record}", "Records that are not on the disk yet");
        meter.CreateObservableGauge("safetyfilter.ledger.unpublished", () => read().Unpublished, "{record}", "Records that Kafka does not have yet");
        meter.CreateObservableGauge(
            "safetyfilter.ledger.oldest_unpublished_age", () => read().OldestUnpublished.TotalSeconds, "s", "Age of the oldest record that Kafka does not have yet");
        meter.CreateObservableGauge("safetyfilter.ledger.troubled", () => read().IsTroubled ? 1 : 0, "1", "1 while the spool's disk fails");
        meter.CreateObservableGauge(
            "safetyfilter.ledger.publishing_troubled", () => read().IsPublishingTroubled ? 1 : 0, "1", "1 while records wait for Kafka and something hinders them");
        meter.CreateObservableCounter(
            "safetyfilter.ledger.producers", () => read().Producers, "{producer}", "Kafka producers made; each after the first follows an error that could not be retried, or other settings");
        meter.CreateObservableCounter(
            "safetyfilter.ledger.cursor_failures", () => read().CursorFailures, "{failure}", "Times that the publish cursor could not be saved");
        meter.CreateObservableCounter(
            "safetyfilter.ledger.lost", () => read().LostTotal, "{record}", "Decisions answered without a record since the stream began");
        meter.CreateObservableGauge("safetyfilter.ledger.backlog", () => read().BacklogBytes, "By", "Records that wait in memory for a segment");
        meter.CreateObservableCounter("safetyfilter.ledger.disk_waits", () => read().DiskWaits, "{wait}", "Times that a request waited for the disk");
        meter.CreateObservableGauge(
            "safetyfilter.ledger.free", () => read().FreeBytes, "By", "What the spool may still take: of the volume, and of Ledger:Spool:MaxBytes; -1 when unknown");
        meter.CreateObservableCounter("safetyfilter.ledger.damages", () => read().Damages, "{place}", "Damaged places met in the spool");
        meter.CreateObservableCounter("safetyfilter.ledger.checkpoints", () => read().Checkpoints, "{checkpoint}", "Signed checkpoints written");
        meter.CreateObservableCounter(
            "safetyfilter.ledger.checkpoint_failures", () => read().NotaryFailures, "{failure}", "Times that no checkpoint could be made");
        meter.CreateObservableGauge("safetyfilter.ledger.unsigned", () => read().Unsigned, "{record}", "Records that no checkpoint covers yet");
        meter.CreateObservableGauge(
            "safetyfilter.ledger.signing_troubled", () => read().IsNotaryTroubled ? 1 : 0, "1", "1 while checkpoints cannot be made");
        meter.CreateObservableCounter("safetyfilter.ledger.lost_records", () => read().LostRecords, "{record}", "Records found to be lost, each admitted by a Gap record");
    }
}
