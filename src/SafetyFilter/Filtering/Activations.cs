using Google.Protobuf;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Filtering;

/// <summary>The records by which a stream says which policies serve from here on, and with which models.</summary>
internal static class Activations
{
    /// <summary>One per policy, in the order of their names, without a sequence.</summary>
    public static IEnumerable<Activation> Of(ServingSnapshot snapshot, Guid streamId, uint epoch, TimeProvider time) => snapshot.Plans
        .GroupBy(static plan => plan.Policy.Name, StringComparer.Ordinal)
        .OrderBy(static plans => plans.Key, StringComparer.Ordinal)
        .Select(plans => Of([.. plans.OrderBy(static plan => plan.Policy.Surface, StringComparer.Ordinal)], streamId, epoch, time));

    private static Activation Of(List<SurfacePlan> plans, Guid streamId, uint epoch, TimeProvider time)
    {
        var (policy, terms) = (plans[0].Policy, plans[0].Terms);
        return new Activation
        {
            StreamId = ByteString.CopyFrom(streamId.ToByteArray(bigEndian: true)),
            Epoch = epoch,
            TimeUnixNanos = (ulong)(time.GetUtcNow().UtcDateTime - DateTime.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick,
            Policy = policy.Name,
            PolicyRevision = policy.Revision,
            Canonical = policy.Canonical,
            Surfaces = { plans.Select(static plan => plan.Policy.Surface) },
            ConfigRevision = terms.ConfigRevisionText,
            Build = terms.BuildText,
            Bundles =
            {
                plans[0].Steps.Select(static step => new Activation.Types.Bundle
                {
                    Name = step.Bundle.Bundle.Name,
                    Version = step.Bundle.Bundle.Version,
                    ModelSha256 = ByteString.CopyFrom(step.Bundle.Bundle.ModelSha256.Span),
                    ManifestSha256 = ByteString.CopyFrom(step.Bundle.Bundle.ManifestSha256.Span),
                }),
            },
        };
    }
}
