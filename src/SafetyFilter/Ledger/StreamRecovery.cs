using Microsoft.Extensions.Logging;

namespace SafetyFilter.Ledger;

/// <summary>The stream that a run goes on with.</summary>
/// <param name="Continues">The stream before this one, whose tree could not be found again.</param>
internal sealed record RecoveredStream(Guid StreamId, string Folder, RecoveryReport Report, RecoveredTree Tree, Guid? Continues);

/// <summary>Recovers the records and then the tree of a spool's stream, or begins a new stream where the tree is lost.</summary>
internal static class StreamRecovery
{
    public static RecoveredStream Run(string root, Guid streamId, uint lastEpoch, long segmentBytes, TimeProvider time, ILogger logger)
    {
        var folder = Path.Combine(root, SpoolFolder.StreamName(streamId));
        SpoolFolder.Create(folder);
        var report = SpoolRecovery.Run(folder, streamId, lastEpoch, segmentBytes);
        foreach (var damage in report.Damages)
        {
            LedgerLog.DamageFound(logger, damage.Kind, damage.Path, damage.Offset, damage.Length, damage.AfterSequence);
        }

        var published = PublishCursor.Read(folder)?.PublishedThrough ?? 0;
        if (TreeRecovery.Run(folder, report.LastSequence, report.OnDisk, published) is { } tree)
        {
            return new RecoveredStream(streamId, folder, report, tree, null);
        }

        var next = Guid.CreateVersion7(time.GetUtcNow());
        LedgerLog.NewStream(logger, streamId, next);
        if (report.Spare is { } spare)
        {
            File.Delete(spare);
        }

        var nextFolder = Path.Combine(root, SpoolFolder.StreamName(next));
        SpoolFolder.Create(nextFolder);
        return new RecoveredStream(next, nextFolder, new RecoveryReport(0, 1, 0, 0, false, 0, []), RecoveredTree.Empty(), streamId);
    }
}
