namespace SafetyFilter.Admission;

/// <summary>How many requests are worked on at a time, and how long others may wait. Section <c>Admission</c>.</summary>
internal sealed class AdmissionOptions
{
    private const int MostPerPlace = 64;

    /// <summary>
    /// Requests in the engine at a time, 1 to 1024. Default 0: one per core. The engine computes and never waits, so that more only share
    /// the same cores and all of them end later.
    /// </summary>
    public int Places { get; set; }

    /// <summary>
    /// The longest that a request may wait for a place, 0 to 1 min, also when its deadline would allow more. Default 20 ms: a burst of a
    /// hundred pages, as many as one HTTP/2 connection carries, on two cores at 400 us a page. A longer line gives nobody an earlier answer.
    /// </summary>
    public TimeSpan MaxWait { get; set; } = TimeSpan.FromMilliseconds(20);

    /// <summary>Requests that wait at a time, 1 to 65536. Default 0: 64 per place, what <see cref="MaxWait"/> allows for pages of 300 us.</summary>
    public int MaxWaiting { get; set; }

    /// <summary>
    /// Requests inside at a time, whether they are being read, wait or are worked on, 1 to 100000. Default 1024, chosen: 100 MiB with messages
    /// of 100 KiB, and ten connections full of streams. Each holds its message, so
    /// this times <c>Limits:MaxMessageBytes</c> (twice that, while it is read) bounds the memory of requests.
    /// </summary>
    public int MaxRequests { get; set; } = 1024;

    public int EffectivePlaces => Places > 0 ? Places : Environment.ProcessorCount;

    public int EffectiveMaxWaiting => MaxWaiting > 0 ? MaxWaiting : MostPerPlace * EffectivePlaces;

    /// <summary>Every error at once, in words for whoever wrote the configuration.</summary>
    public IEnumerable<string> Validate()
    {
        if (Places is < 0 or > 1024)
        {
            yield return $"Admission:Places is {Places}; it must be 0 (one per core) to 1024.";
        }

        if (MaxWait < TimeSpan.Zero || MaxWait > TimeSpan.FromMinutes(1))
        {
            yield return $"Admission:MaxWait is {MaxWait}; it must be 0 to 00:01:00.";
        }

        if (MaxWaiting is < 0 or > 65536)
        {
            yield return $"Admission:MaxWaiting is {MaxWaiting}; it must be 0 (64 per place) to 65536.";
        }

        if (MaxRequests is < 1 or > 100_000)
        {
            yield return $"Admission:MaxRequests is {MaxRequests}; it must be 1 to 100000.";
        }
    }
}
