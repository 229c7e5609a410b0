using System.Collections.Frozen;
using System.Collections.Immutable;
using SafetyFilter.Sidecar.Hosting;

namespace SafetyFilter.Sidecar.Reload;

/// <summary>The settings in force, and what the files would have at the next start. Changed by one reload at a time; read by anyone.</summary>
internal sealed class ServingSettings(
    SettingsFiles files, FrozenDictionary<string, Setting> atStart, SidecarOptions options, bool isProduction)
{
    private volatile State _state = new(atStart, atStart);

    /// <summary>The options in force.</summary>
    public SidecarOptions Options { get; private set; } = options;

    /// <summary>The settings in force, as the binder takes them.</summary>
    public IConfiguration InForce => SettingsFiles.Bindable(_state.InForce);

    /// <summary>Settings whose new values wait for a restart, by name.</summary>
    public ImmutableArray<string> Pending
    {
        get
        {
            var state = _state;
            return [.. KeysThatDiffer(state.InForce, state.Filed)];
        }
    }

    /// <summary>What the files now say, checked whole: as a start would see it, and as it would be in force now.</summary>
    public (SettingsChange? Change, IReadOnlyList<string> Errors) Prepare(IReadOnlyList<SettingsText> texts)
    {
        var (filed, errors) = files.Merge(texts);
        if (filed is null)
        {
            return (null, errors);
        }

        (var atNextStart, errors) = SidecarOptions.Read(SettingsFiles.Bindable(filed), isProduction);
        if (atNextStart is null)
        {
            return (null, errors);
        }

        var before = _state;
        var isKafkaSwitched = atNextStart.Ledger.Kafka.Enabled != Options.Ledger.Kafka.Enabled;
        var inForce = filed.Where(pair => SettingKeys.IsReloadable(pair.Key, isKafkaSwitched))
            .Concat(before.InForce.Where(pair => !SettingKeys.IsReloadable(pair.Key, isKafkaSwitched)))
            .ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);
        (var options, errors) = SidecarOptions.Read(SettingsFiles.Bindable(inForce), isProduction);
        return options is null
            ? (null, [.. errors.Select(static error => $"{error} (Other settings that it depends on need a restart.)")])
            : (new SettingsChange(filed, inForce, options, Differences(before.InForce, filed, isKafkaSwitched)), []);
    }

    /// <summary>Puts a change into force for whoever reads the configuration.</summary>
    public void Commit(SettingsChange change)
    {
        var isSeen = KeysThatDiffer(_state.InForce, change.InForce).Any();
        Options = change.Options;
        _state = new State(change.InForce, change.Filed);
        if (isSeen)
        {
            files.Publish(change.InForce);
        }
    }

    /// <summary>Every setting that the files name, and those of the same sections that the process was started with.</summary>
    public IReadOnlyList<EffectiveSetting> List()
    {
        var state = _state;
        var sections = state.InForce.Where(static pair => !IsGiven(pair.Value)).Select(static pair => SectionOf(pair.Key)).ToHashSet(StringComparer.OrdinalIgnoreCase);
        var pending = KeysThatDiffer(state.InForce, state.Filed).ToHashSet(StringComparer.OrdinalIgnoreCase);
        return
        [
            .. state.InForce.Keys.Concat(pending).Distinct(StringComparer.OrdinalIgnoreCase)
                .Where(key => sections.Contains(SectionOf(key)))
                .Order(StringComparer.OrdinalIgnoreCase)
                .Select(key => new EffectiveSetting(
                    key,
                    SettingKeys.Shown(key, state.InForce.GetValueOrDefault(key).Value ?? ""),
                    state.InForce.GetValueOrDefault(key).Origin ?? "",
                    pending.Contains(key) ? SettingKeys.Shown(key, state.Filed.GetValueOrDefault(key).Value ?? "") : "")),
        ];
    }

    private static IEnumerable<ReloadDifference> Differences(
        FrozenDictionary<string, Setting> before, FrozenDictionary<string, Setting> after, bool isKafkaSwitched) =>
        KeysThatDiffer(before, after).Select(key => new ReloadDifference(
            key,
            SettingKeys.Shown(key, before.GetValueOrDefault(key).Value ?? ""),
            SettingKeys.Shown(key, after.GetValueOrDefault(key).Value ?? ""),
            !SettingKeys.IsReloadable(key, isKafkaSwitched)));

    private static IEnumerable<string> KeysThatDiffer(FrozenDictionary<string, Setting> one, FrozenDictionary<string, Setting> other) => one.Keys
        .Union(other.Keys, StringComparer.OrdinalIgnoreCase)
        .Where(key => one.GetValueOrDefault(key).Value != other.GetValueOrDefault(key).Value)
        .Order(StringComparer.OrdinalIgnoreCase);

    private static bool IsGiven(Setting setting) => setting.Origin is "environment" or "command line";

    private static string SectionOf(string key) => key.Split(':', 2)[0];

    private sealed record State(FrozenDictionary<string, Setting> InForce, FrozenDictionary<string, Setting> Filed);
}

/// <param name="Filed">As a start would take them.</param>
/// <param name="InForce">With what needs a restart left as it is.</param>
/// <param name="Options">Of <paramref name="InForce"/>.</param>
internal sealed record SettingsChange(
    FrozenDictionary<string, Setting> Filed, FrozenDictionary<string, Setting> InForce, SidecarOptions Options, IEnumerable<ReloadDifference> Differences);
