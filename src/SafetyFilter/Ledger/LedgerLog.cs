using Microsoft.Extensions.Logging;
using SafetyFilter.Observability;

namespace SafetyFilter.Ledger;

/// <summary>Everything the ledger says.</summary>
internal static partial class LedgerLog
{
    [LoggerMessage(EventIds.LedgerRecovered, LogLevel.Information,
        "Ledger stream {StreamId} starts epoch {Epoch} after sequence {LastSequence} " +
        "(previous ended cleanly: {Cleanly}, bytes cut off: {BytesCutOff}, damages: {Damages})")]
    public static partial void Recovered(
        ILogger logger, Guid streamId, uint epoch, ulong lastSequence, bool cleanly, long bytesCutOff, int damages);

    [LoggerMessage(EventIds.LedgerDamageFound, LogLevel.Warning,
        "{Kind} in '{Path}' at {Offset}, {Length} bytes, after sequence {AfterSequence}; a copy is in the quarantine folder")]
    public static partial void DamageFound(ILogger logger, DamageKind kind, string path, long offset, long length, ulong afterSequence);

    [LoggerMessage(EventIds.LedgerSyncFailed, LogLevel.Error,
        "The disk did not confirm '{Path}': {Reason}. Its records are written again elsewhere; " +
        "until that succeeds they survive a crash of the process but not of the machine")]
    public static partial void SyncFailed(ILogger logger, string path, string reason);

    [LoggerMessage(EventIds.LedgerRewritten, LogLevel.Warning, "'{Path}' was written again to a new file and is durable now")]
    public static partial void Rewritten(ILogger logger, string path);

    [LoggerMessage(EventIds.LedgerNoSpare, LogLevel.Error,
        "No next segment can be made in '{Folder}': {Reason}. Once the present one and the memory that stands in for the next are full, decisions are refused or go unrecorded, as their policies say; free space")]
    public static partial void NoSpare(ILogger logger, string folder, string reason);

    [LoggerMessage(EventIds.LedgerCannotPopulate, LogLevel.Information, "Page faults cannot be taken ahead ({Reason}); appends take them")]
    public static partial void CannotPopulate(ILogger logger, string reason);

    [LoggerMessage(EventIds.LedgerSubjectKeysNotDurable, LogLevel.Error,
        "The disk did not confirm new subject keys in '{Path}': {Reason}. What is sealed with them is lost if the machine fails now")]
    public static partial void SubjectKeysNotDurable(ILogger logger, string path, string reason);

    [LoggerMessage(EventIds.LedgerSpaceLow, LogLevel.Warning,
        "The spool in '{Folder}' may take {Free} bytes more, which is less than Ledger:Spool:WarnFreeBytes ({Limit}). Free space, or see why records are not published")]
    public static partial void SpaceLow(ILogger logger, string folder, long free, long limit);

    [LoggerMessage(EventIds.LedgerSpaceBack, LogLevel.Information, "The spool in '{Folder}' may take {Free} bytes again")]
    public static partial void SpaceBack(ILogger logger, string folder, long free);

    [LoggerMessage(EventIds.LedgerNoLossPage, LogLevel.Warning,
        "'{Path}' cannot be made ({Reason}): answers without a record could not be counted, so none are given in this run. Free space and restart")]
    public static partial void NoLossPage(ILogger logger, string path, string reason);

    [LoggerMessage(EventIds.LedgerLossPageDamaged, LogLevel.Error,
        "'{Path}' is damaged; counting goes on from {Known}, the newest total that the records tell")]
    public static partial void LossPageDamaged(ILogger logger, string path, ulong known);

    [LoggerMessage(EventIds.LedgerLossPageNotDurable, LogLevel.Error,
        "The disk did not confirm the loss page in '{Folder}': {Reason}. In this run its counts survive a crash of the process but not of the machine")]
    public static partial void LossPageNotDurable(ILogger logger, string folder, string reason);

    [LoggerMessage(EventIds.LedgerBacklogLost, LogLevel.Warning,
        "The run before ended with {Decisions} decisions in memory that found no room in '{Folder}'; a Loss record admits them")]
    public static partial void BacklogLost(ILogger logger, string folder, ulong decisions);

    [LoggerMessage(EventIds.PublisherNewProducer, LogLevel.Warning, "Publishing to '{Topic}' goes on after sequence {Sequence} with a new producer in {Backoff}: {Reason}")]
    public static partial void NewProducer(ILogger logger, string topic, ulong sequence, TimeSpan backoff, string reason);

    [LoggerMessage(EventIds.PublisherOtherSettings, LogLevel.Information, "Publishing goes on after sequence {Sequence} with other settings, to '{Topic}'")]
    public static partial void OtherSettings(ILogger logger, string topic, ulong sequence);

    [LoggerMessage(EventIds.PublisherProducerFailed, LogLevel.Error, "The producer for '{Topic}' failed for good ({Code}): {Reason}")]
    public static partial void ProducerFailed(ILogger logger, string topic, Confluent.Kafka.ErrorCode code, string reason);

    [LoggerMessage(EventIds.PublisherCursorFailed, LogLevel.Warning, "The publish cursor in '{Folder}' cannot be saved: {Reason}. A restart publishes more records again")]
    public static partial void CursorFailed(ILogger logger, string folder, string reason);

    [LoggerMessage(EventIds.PublisherTroubled, LogLevel.Warning,
        "Publishing to '{Topic}' is hindered after sequence {Sequence}: {Reason}. Decisions go on; their records wait in the spool")]
    public static partial void PublishingTroubled(ILogger logger, string topic, ulong sequence, string reason);

    [LoggerMessage(EventIds.PublisherResumed, LogLevel.Information, "Publishing to '{Topic}' goes on: sequence {Sequence} is acknowledged")]
    public static partial void PublishingResumed(ILogger logger, string topic, ulong sequence);

    [LoggerMessage(EventIds.PublisherLeftStream, LogLevel.Information, "What the stream in '{Folder}' had left is published up to sequence {Sequence}")]
    public static partial void PublishedLeft(ILogger logger, string folder, ulong sequence);

    [LoggerMessage(EventIds.PublisherLibrdkafka, LogLevel.Debug, "librdkafka {Facility}: {Message}")]
    public static partial void Librdkafka(ILogger logger, string facility, string message);

    [LoggerMessage(EventIds.LedgerNotaryTroubled, LogLevel.Error,
        "Stream {StreamId} gets no checkpoints after tree size {TreeSize}: {Reason}. Decisions go on and are recorded; it is tried again")]
    public static partial void NotaryTroubled(ILogger logger, Guid streamId, ulong treeSize, string reason);

    [LoggerMessage(EventIds.LedgerNotaryResumed, LogLevel.Information, "Stream {StreamId} gets checkpoints again: tree size {TreeSize} is signed")]
    public static partial void NotaryResumed(ILogger logger, Guid streamId, ulong treeSize);

    [LoggerMessage(EventIds.LedgerEndNotSigned, LogLevel.Error, "The end of stream {StreamId} is not signed: {Reason}. The next run goes on from the newest checkpoint")]
    public static partial void EndNotSigned(ILogger logger, Guid streamId, string reason);

    [LoggerMessage(EventIds.LedgerNewStream, LogLevel.Warning,
        "The tree of stream {StreamId} cannot be found again: it has no checkpoint, and its first records are gone. " +
        "Stream {Next} continues it; its records stay where they are and are still published")]
    public static partial void NewStream(ILogger logger, Guid streamId, Guid next);

    [LoggerMessage(EventIds.LedgerGapAdmitted, LogLevel.Error, "The records {First} to {Last} are lost ({Cause}). What is left of them: '{Evidence}' in the quarantine folder")]
    public static partial void GapAdmitted(ILogger logger, ulong first, ulong last, Lineage.V1.Gap.Types.Cause cause, string evidence);
}
