using Google.Protobuf;
using SafetyFilter.Decisions;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>The records by which a stream tells what the sidecar went through. Each allocates, so none is for every request. Thread-safe.</summary>
internal sealed class OperationsJournal(Spool spool, TimeProvider time)
{
    private readonly ByteString _streamId = ByteString.CopyFrom(spool.StreamId.ToByteArray(bigEndian: true));

    /// <summary>A breaker changed its state. What is not <see cref="AppendResult.Appended"/> was not recorded.</summary>
    public AppendResult BreakerChanged(BreakerTransition change) => spool.Append(
        RecordType.BreakerChange,
        new BreakerChange
        {
            StreamId = _streamId,
            Epoch = spool.Epoch,
            TimeUnixNanos = Nanos(time.GetUtcNow()),
            Bundle = change.Bundle,
            State = (DecisionRecord.Types.BreakerState)change.State,
            Cause = (DecisionRecord.Types.FailureKind)change.Failure,
            BreakMillis = (ulong)change.Break.TotalMilliseconds,
            Group = change.Group,
            Actor = change.Actor,
            Reason = (BreakerChange.Types.Reason)change.Reason,
        }.ToByteArray(),
        out _);

    /// <summary>What serves was changed, or was to be. Stream, epoch and time are filled in here.</summary>
    public AppendResult Changed(Change change)
    {
        change.StreamId = _streamId;
        change.Epoch = spool.Epoch;
        change.TimeUnixNanos = Nanos(time.GetUtcNow());
        return spool.Append(RecordType.Change, change.ToByteArray(), out _);
    }

    /// <summary>Requests had no place. Times in UTC.</summary>
    public AppendResult Shed(DateTimeOffset first, DateTimeOffset last, ulong refused, ulong servedByFailMode) => spool.Append(
        RecordType.Shed,
        new Shed
        {
            StreamId = _streamId,
            Epoch = spool.Epoch,
            TimeUnixNanos = Nanos(time.GetUtcNow()),
            FirstTimeUnixNanos = Nanos(first),
            LastTimeUnixNanos = Nanos(last),
            Refused = refused,
            ServedByFailMode = servedByFailMode,
        }.ToByteArray(),
        out _);

    /// <summary>Somebody asked operations for what they may not have.</summary>
    /// <param name="attempts">Since the record before, this one included.</param>
    public AppendResult Denied(SecurityEvent.Types.Kind kind, string caller, string method, ulong attempts) => spool.Append(
        RecordType.SecurityEvent,
        new SecurityEvent
        {
            StreamId = _streamId,
            Epoch = spool.Epoch,
            TimeUnixNanos = Nanos(time.GetUtcNow()),
            Kind = kind,
            Caller = caller,
            Method = method,
            Attempts = attempts,
        }.ToByteArray(),
        out _);

    private static ulong Nanos(DateTimeOffset time) => (ulong)(time - DateTimeOffset.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;
}
