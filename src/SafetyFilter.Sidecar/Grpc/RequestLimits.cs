namespace SafetyFilter.Sidecar.Grpc;

/// <summary>What a request may hold. Section <c>Limits</c>.</summary>
internal sealed class RequestLimits
{
    /// <summary>Candidates per request. Default 1000: twice the largest page that rankers send.</summary>
    public int MaxCandidates { get; set; } = 1000;

    /// <summary>
    /// Bytes of one message. Default 8 MiB: 1000 candidates with a 1024-dimension float32 embedding and a caption fit.
    /// </summary>
    public int MaxMessageBytes { get; set; } = 8 * 1024 * 1024;

    /// <summary>Bytes of one candidate id. Default 256, as filter.proto says.</summary>
    public int MaxCandidateIdBytes { get; set; } = 256;

    /// <summary>Bytes of one text. Default 16384, as filter.proto says; featurizers read less.</summary>
    public int MaxTextBytes { get; set; } = 16 * 1024;

    /// <summary>Every error at once, in words for whoever wrote the configuration.</summary>
    public IEnumerable<string> Validate()
    {
        if (MaxCandidates is < 1 or > 10_000)
        {
            yield return $"Limits:MaxCandidates is {MaxCandidates}; it must be 1 to 10000.";
        }

        if (MaxMessageBytes is < 1024 or > 256 * 1024 * 1024)
        {
            yield return $"Limits:MaxMessageBytes is {MaxMessageBytes}; it must be 1024 to 268435456 (256 MiB).";
        }

        if (MaxCandidateIdBytes is < 1 or > 4096)
        {
            yield return $"Limits:MaxCandidateIdBytes is {MaxCandidateIdBytes}; it must be 1 to 4096.";
        }

        if (MaxTextBytes is < 1 or > 1024 * 1024)
        {
            yield return $"Limits:MaxTextBytes is {MaxTextBytes}; it must be 1 to 1048576.";
        }
    }
}
