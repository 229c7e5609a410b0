namespace SafetyFilter.Sidecar.Reload;

/// <summary>Decides when what the files say is to be taken: once it was the same twice in a row and is not what was taken before.</summary>
internal sealed class ContentWatch
{
    private string? _seen;
    private string? _taken;

    public bool IsDue(string fingerprint)
    {
        var isSteady = _seen == fingerprint;
        _seen = fingerprint;
        return isSteady && _taken != fingerprint;
    }

    /// <summary>Accepted or refused: it is not due again until the files have said something else in between.</summary>
    public void Take(string fingerprint) => _taken = fingerprint;

    /// <summary>For a reason that may go away without an edit: it is due again.</summary>
    public void Forget() => _taken = null;
}
