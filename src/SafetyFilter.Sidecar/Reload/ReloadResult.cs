using System.Collections.Immutable;

namespace SafetyFilter.Sidecar.Reload;

/// <summary>What became of a reload, or would.</summary>
/// <param name="Accepted">Nothing is wrong with what the files say. In a dry run it would take effect; otherwise it has.</param>
/// <param name="Changed">Whether anything differs from what served before.</param>
/// <param name="Errors">All of them; then everything stayed as it was.</param>
/// <param name="Effect">Null when no policy changed.</param>
internal sealed record ReloadResult(
    bool Accepted, bool Changed, ImmutableArray<string> Errors, ImmutableArray<ReloadDifference> Differences, ChangeEffect? Effect);

/// <summary>One setting, or one policy as "policy NAME" with its revisions. Empty: it was not there, or no longer is. Secrets are ***.</summary>
/// <param name="NeedsRestart">It stays as it was until then.</param>
internal sealed record ReloadDifference(string Key, string Before, string After, bool NeedsRestart);

/// <summary>Since the process started.</summary>
/// <param name="Errors">Of the newest refusal, while nothing was accepted since.</param>
/// <param name="Pending">Settings that the files have and that take effect at the next start only.</param>
internal sealed record ReloadStatus(
    long Accepted, long Refused, DateTimeOffset? LastAccepted, DateTimeOffset? LastRefused, ImmutableArray<string> Errors, ImmutableArray<string> Pending)
{
    public static ReloadStatus None { get; } = new(0, 0, null, null, [], []);
}

/// <summary>A setting as it is in force.</summary>
/// <param name="Origin">A file's name, "environment" or "command line".</param>
/// <param name="Pending">What the files say now where that needs a restart; otherwise empty.</param>
internal sealed record EffectiveSetting(string Key, string Value, string Origin, string Pending);
