using Google.Protobuf;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Observability;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>Tells the ledger which policy serves from here on, before its first decision.</summary>
internal sealed partial class ActivationLog(Spool spool, TimeProvider time, ILogger<ActivationLog> logger)
{
    /// <param name="policyRevision">Of the policy to tell of.</param>
    public AppendResult Announce(ServingSnapshot snapshot, string policyRevision)
    {
        var activation = Activations.Of(snapshot, spool.StreamId, spool.Epoch, time).First(one => one.PolicyRevision == policyRevision);
        var appended = spool.Append(RecordType.Activation, activation.ToByteArray(), out _);
        if (appended == AppendResult.TooLarge)
        {
            // The archive has its text, under the revision.
            ActivationWithoutText(logger, activation.Policy, activation.PolicyRevision);
            activation.Canonical = "";
            appended = spool.Append(RecordType.Activation, activation.ToByteArray(), out _);
        }

        return appended;
    }

    [LoggerMessage(EventIds.LedgerActivationWithoutText, LogLevel.Warning,
        "The text of policy {Policy}, revision {Revision}, does not fit a record (Ledger:Spool:MaxRecordBytes); only the archive has it")]
    private static partial void ActivationWithoutText(ILogger logger, string policy, string revision);
}
