namespace SafetyFilter.Scoring;

/// <summary>How long a run may take. The default is a run without limit.</summary>
/// <param name="Micros">From now on; 0 is no limit.</param>
/// <param name="IsCallers">Whether the caller's deadline sets it: an overrun then says nothing about the model.</param>
/// <param name="Watchdog">Cuts the run when it overruns; null: it ends by itself.</param>
/// <param name="WholeMicros">What the request began with, of which <paramref name="Micros"/> is left; 0 is not known.</param>
internal readonly record struct RunLimit(uint Micros, bool IsCallers, RunWatchdog? Watchdog, uint WholeMicros = 0)
{
    // What a run gets is what those before it left, so less than half says as much of them as of this one.
    private const int Parts = 2;

    /// <summary>
    /// Whether a run that was cut at this limit was a slow one, whatever it would have taken: policy or server set the limit, and the run had at
    /// least half of the budget, as far as the page is no larger than <paramref name="usualPage"/>. Larger ones must have had more in proportion.
    /// </summary>
    /// <remarks>Neither deadline nor size of a page is the model's doing: both are the caller's, who must not open breakers.</remarks>
    public bool Condemns(int candidates, int usualPage) =>
        !IsCallers && WholeMicros > 0 && (long)Parts * Micros * usualPage >= (long)WholeMicros * Math.Max(usualPage, candidates);
}
