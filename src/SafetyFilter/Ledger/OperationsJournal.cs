using Google.Protobuf;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>
/// The records by which a stream tells what was done to the sidecar and what it went through: changes, breakers, shed
/// requests, refused callers. Not for the request path: each append allocates. Thread-safe.
/// </summary>
internal sealed class OperationsJournal(Spool spool, TimeProvider time)
{
    private readonly ByteString _streamId = ByteString.CopyFrom(spool.StreamId.ToByteArray(bigEndian: true));

    /// <summary>Fills stream, epoch and time, and appends. What is not <see cref="AppendResult.Appended"/> was not recorded.</summary>
    public AppendResult Append(Change change)
    {
        (change.StreamId, change.Epoch, change.TimeUnixNanos) = (_streamId, spool.Epoch, Now());
        return spool.Append(RecordType.Change, change.ToByteArray(), out _);
    }

    /// <inheritdoc cref="Append(Change)"/>
    public AppendResult Append(BreakerChange change)
    {
        (change.StreamId, change.Epoch, change.TimeUnixNanos) = (_streamId, spool.Epoch, Now());
        return spool.Append(RecordType.BreakerChange, change.ToByteArray(), out _);
    }

    /// <inheritdoc cref="Append(Change)"/>
    public AppendResult Append(Shed shed)
    {
        (shed.StreamId, shed.Epoch, shed.TimeUnixNanos) = (_streamId, spool.Epoch, Now());
        return spool.Append(RecordType.Shed, shed.ToByteArray(), out _);
    }

    /// <inheritdoc cref="Append(Change)"/>
    public AppendResult Append(SecurityEvent security)
    {
        (security.StreamId, security.Epoch, security.TimeUnixNanos) = (_streamId, spool.Epoch, Now());
        return spool.Append(RecordType.SecurityEvent, security.ToByteArray(), out _);
    }

    private ulong Now() => (ulong)(time.GetUtcNow().UtcDateTime - DateTime.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;
}
