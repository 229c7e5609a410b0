using Google.Protobuf;
using Microsoft.Extensions.Logging;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>The start of a run: lock, recovery, keys, first segment, EpochStart, threads, in this order.</summary>
internal static class SpoolStart
{
    public static Spool Run(
        SpoolOptions options, string build, TimeProvider time, ILogger logger, bool publishes, SigningOptions signing, INoteSigner? identity, bool threads)
    {
        SpoolFolder.Create(options.Folder);
        var lockHandle = SpoolFolder.Lock(options.Folder);
        Segment? first = null;
        LossPage? losses = null;
        EpochSigner? signer = null;
        Spool? spool = null;
        try
        {
            var (streamId, lastEpoch) = SpoolFolder.ReadIdentity(options.Folder) ?? Adopt(options.Folder, time);
            var stream = StreamRecovery.Run(options.Folder, streamId, lastEpoch, options.SegmentBytes, time, logger);
            var recovery = stream.Report;
            var epoch = recovery.NextEpoch;
            signer = EpochSigner.Create(
                signing, options.Folder, identity, stream.StreamId, epoch, recovery.LastSequence, stream.Tree.Tree.Root());
            SpoolFolder.WriteIdentity(options.Folder, stream.StreamId, epoch);
            losses = LossPage.Open(stream.Folder, recovery.LastSequence, logger);

            var path = Path.Combine(stream.Folder, SpoolFolder.SegmentName(recovery.LastSequence + 1));
            if (recovery.Spare is { } spare)
            {
                File.Move(spare, path);
            }

            first = Segment.TryCreate(path, options.SegmentBytes, out var problem, recovery.Spare is null ? FileMode.CreateNew : FileMode.Open)
                ?? throw new LedgerException(
                    $"A segment of {options.SegmentBytes} bytes cannot be made in '{stream.Folder}' ({problem}). " +
                    "Free space, or lower Ledger:Spool:SegmentBytes.");
            first.Begin_NeedsLock(new SegmentHeader(stream.StreamId, epoch, recovery.LastSequence + 1, Spool.UnixNanos(time)));
            LedgerLog.Recovered(
                logger, stream.StreamId, epoch, recovery.LastSequence, recovery.PreviousEndedCleanly, recovery.BytesCutOff, recovery.Damages.Count);

            spool = new Spool(options, signing, stream, signer, lockHandle, first, losses, options.RecordLimit(publishes), time, logger);
            spool.Gaps.NoteRecovered(stream.Tree.Lost);
            AppendEpochStart(spool, build, stream, signer, time);
            spool.Keeper.Start(threads);
            spool.Gaps.AdmitRecovered();
            spool.BeginReporting();
            spool.Notary.Start(threads);
            return spool;
        }
        catch (Exception error)
        {
            if (spool is not null)
            {
                spool.Abandon();
            }

            first?.Dispose();
            losses?.Dispose();
            signer?.Dispose();
            lockHandle.Dispose();
            if (error is IOException or UnauthorizedAccessException)
            {
                throw new LedgerException(
                    $"The spool in '{options.Folder}' cannot be opened: {error.Message} Check the disk for space and errors, and the folder's permissions.",
                    error);
            }

            throw;
        }
    }

    private static void AppendEpochStart(Spool spool, string build, RecoveredStream stream, EpochSigner signer, TimeProvider time)
    {
        var root = stream.Tree.Tree.Root();
        var start = new EpochStart
        {
            StreamId = spool.StreamIdBytes(),
            Epoch = spool.Epoch,
            TimeUnixNanos = Spool.UnixNanos(time),
            PreviousEpoch = spool.Recovery.PreviousEpoch,
            PreviousSequence = spool.Recovery.LastSequence,
            BytesCutOff = (ulong)spool.Recovery.BytesCutOff,
            PreviousEndedCleanly = spool.Recovery.PreviousEndedCleanly,
            Build = build,
            BootNonce = ByteString.CopyFrom(signer.BootNonce),
            PreviousRoot = ByteString.CopyFrom(root),
            PreviousFrontier = ByteString.CopyFrom(stream.Tree.Tree.ToArray()),
            Identity = signer.Identity,
            EpochKey = signer.Key.Verifier.Text,
            Certificate = signer.Certificate,
            LostTotal = spool.LostTotal,
            ContinuesStream = stream.Continues is { } before ? ByteString.CopyFrom(before.ToByteArray(bigEndian: true)) : ByteString.Empty,
        };
        var result = spool.Append(RecordType.EpochStart, start.ToByteArray(), TimeSpan.Zero, out _);
        if (result != AppendResult.Appended)
        {
            throw new LedgerException($"EpochStart cannot be recorded ({result}). Raise Ledger:Spool:MaxRecordBytes to at least 8192.");
        }
    }

    /// <summary>Without an identity file: the newest segment knows stream and epoch; without segments a stream begins.</summary>
    private static (Guid StreamId, uint Epoch) Adopt(string root, TimeProvider time)
    {
        var streams = SpoolFolder.Streams(root);
        if (streams.Count > 1)
        {
            throw new LedgerException(
                $"'{root}' has no spool.json and holds {streams.Count} streams. Restore the file, or move all but one stream elsewhere.");
        }

        if (streams.Count == 0)
        {
            return (Guid.CreateVersion7(time.GetUtcNow()), 0);
        }

        // Recovery raises the epoch to what it finds in the newest segment.
        return (Guid.ParseExact(Path.GetFileName(streams[0]), "N"), 0);
    }
}
