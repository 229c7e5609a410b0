using System.Collections.Concurrent;
using System.Text;
using Google.Protobuf;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Policy;

namespace SafetyFilter.Audit;

/// <summary>
/// Policies by their revision, from wherever an auditor has them: folders, an archive, and the Activation records of the stream
/// itself. Thread-safe for lookups beside one adder.
/// </summary>
internal sealed class PolicyArchive
{
    private readonly ConcurrentDictionary<byte[], ArchivedPolicy> _byRevision = new(Utf8Comparer.Instance);
    private readonly ConcurrentDictionary<byte[], ArchivedPolicy>.AlternateLookup<ReadOnlySpan<byte>> _lookup;
    private readonly List<string> _problems = [];

    public PolicyArchive()
    {
        _lookup = _byRevision.GetAlternateLookup<ReadOnlySpan<byte>>();
    }

    public int Count => _byRevision.Count;

    /// <summary>Files and activations that are no policies, or not the ones they claim to be.</summary>
    public IReadOnlyList<string> Problems => _problems;

    /// <param name="utf8Revision">Lower-case hexadecimal, as records have it.</param>
    public ArchivedPolicy? Find(ReadOnlySpan<byte> utf8Revision) => _lookup.TryGetValue(utf8Revision, out var policy) ? policy : null;

    /// <summary>Takes every policy file of a folder, each compiled on its own: an archive holds many revisions of one policy.</summary>
    public void AddFolder(string folder)
    {
        var (sources, errors) = PolicySource.ReadFolder(folder);
        _problems.AddRange(errors.Select(static error => error.ToString()));
        foreach (var source in sources)
        {
            Add(source);
        }
    }

    /// <summary>A policy's text under its revision, and under the digest of the text itself, which a canonical form written by another version has.</summary>
    public void Add(PolicySource source)
    {
        var (policies, errors) = ArchivedPolicy.Read(source);
        _problems.AddRange(errors.Select(static error => error.ToString()));
        foreach (var policy in policies)
        {
            _byRevision.TryAdd(Encoding.UTF8.GetBytes(policy.Policy.Revision), policy);
        }

        if (policies.Count == 1)
        {
            _byRevision.TryAdd(Encoding.UTF8.GetBytes(PolicyCanonical.Digest(source.Text)), policies[0]);
        }
    }

    /// <summary>Takes the policy that an Activation record carries, if it is the one that the record names.</summary>
    public void AddActivation(ReadOnlySpan<byte> record)
    {
        Activation activation;
        try
        {
            activation = Activation.Parser.ParseFrom(record);
        }
        catch (InvalidProtocolBufferException)
        {
            _problems.Add("an Activation record cannot be read");
            return;
        }

        if (_byRevision.ContainsKey(Encoding.UTF8.GetBytes(activation.PolicyRevision)))
        {
            return;
        }

        var digest = PolicyCanonical.Digest(activation.Canonical);
        if (digest != activation.PolicyRevision)
        {
            _problems.Add($"the Activation at sequence {activation.Sequence} names revision {activation.PolicyRevision}, but its text is {digest}");
            return;
        }

        Add(new PolicySource($"activation at sequence {activation.Sequence}", activation.Canonical));
    }
}
