namespace SafetyFilter.Scoring;

/// <summary>How long a run may take. The default is a run without limit.</summary>
/// <param name="Micros">From now on; 0 is no limit.</param>
/// <param name="IsCallers">Whether the caller's deadline sets it: an overrun then says nothing about the model.</param>
/// <param name="Watchdog">Cuts the run when it overruns; null: it ends by itself.</param>
internal readonly record struct RunLimit(uint Micros, bool IsCallers, RunWatchdog? Watchdog);
