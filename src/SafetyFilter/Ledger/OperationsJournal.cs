using Google.Protobuf;
using SafetyFilter.Decisions;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>The records by which a stream tells what the sidecar went through. Each allocates, so none is for every request. Thread-safe.</summary>
internal sealed class OperationsJournal(Spool spool, TimeProvider time)
{
    private readonly ByteString _streamId = ByteString.CopyFrom(spool.StreamId.ToByteArray(bigEndian: true));

    /// <summary>The breaker of a bundle changed its state. What is not <see cref="AppendResult.Appended"/> was not recorded.</summary>
    public AppendResult BreakerChanged(string bundle, BreakerState state, FailureKind cause, TimeSpan breakDuration) => spool.Append(
        RecordType.BreakerChange,
        new BreakerChange
        {
            StreamId = _streamId,
            Epoch = spool.Epoch,
            TimeUnixNanos = Now,
            Bundle = bundle,
            State = (DecisionRecord.Types.BreakerState)state,
            Cause = (DecisionRecord.Types.FailureKind)cause,
            BreakMillis = (ulong)breakDuration.TotalMilliseconds,
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
            TimeUnixNanos = Now,
            Kind = kind,
            Caller = caller,
            Method = method,
            Attempts = attempts,
        }.ToByteArray(),
        out _);

    private ulong Now => (ulong)(time.GetUtcNow().UtcDateTime - DateTime.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;
}
