namespace SafetyFilter.Sidecar.Reload;

/// <summary>Decides when what the files say is to be taken: once it was the same twice in a row and is not what was taken before.</summary>
internal sealed class ContentWatch(TimeProvider time)
{
    /// <summary>Before the second try of what was refused for a reason that may pass. Doubled before each further one.</summary>
    public static readonly TimeSpan ShortestPause = TimeSpan.FromSeconds(1);

    /// <summary>A try checks everything and decides recent decisions again, on cores that requests want.</summary>
    public static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(10);

    private string? _seen;
    private string? _taken;
    private TimeSpan _pause;
    private long _postponed;

    public bool IsDue(string fingerprint)
    {
        var isSteady = _seen == fingerprint;
        _seen = fingerprint;
        return isSteady && (_taken != fingerprint || (_pause > TimeSpan.Zero && time.GetElapsedTime(_postponed) >= _pause));
    }

    /// <summary>Accepted or refused: it is not due again until the files have said something else in between.</summary>
    public void Take(string fingerprint) => (_taken, _pause) = (fingerprint, TimeSpan.Zero);

    /// <summary>Refused for a reason that may pass without an edit: it is due again after a pause, which grows.</summary>
    public void Postpone(string fingerprint)
    {
        var next = _taken == fingerprint && _pause > TimeSpan.Zero ? 2 * _pause : ShortestPause;
        _pause = next < LongestPause ? next : LongestPause;
        (_taken, _postponed) = (fingerprint, time.GetTimestamp());
    }
}
