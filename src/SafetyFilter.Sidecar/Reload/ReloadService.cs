using System.Collections.Immutable;
using SafetyFilter.Breaker;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Observability;
using SafetyFilter.Policy;
using SafetyFilter.Sidecar.Hosting;

namespace SafetyFilter.Sidecar.Reload;

/// <summary>
/// Brings what the files say into effect: read -> checked whole -> tried on recent decisions -> recorded -> swapped. One at a time; a
/// request sees all of it or nothing. What is refused changes nothing. Thread-safe.
/// </summary>
internal sealed partial class ReloadService(
    ServingSettings settings,
    SettingsFiles files,
    ServingLoader loader,
    BreakerBoard breakers,
    ServingStore serving,
    RecentDecisions recent,
    DecisionLedger ledger,
    OperationsJournal journal,
    ActivationLog activations,
    ServingArchive archive,
    RecordPrivacy privacy,
    FilterMetrics metrics,
    TimeProvider time,
    ILogger<ReloadService> logger) : IDisposable
{
    // Enough of each to understand a record; it must fit Ledger:Spool:MaxRecordBytes whatever somebody pasted into a file.
    private const int MostEntries = 100;
    private const int LongestText = 500;
    private const string ByFile = "file";
    private const string ByOperator = "rpc";

    private static readonly Obstacle Stopping = new("The safety filter is stopping.", MayPass: false);

    private readonly SemaphoreSlim _oneAtATime = new(1);
    private readonly ContentWatch _watch = new(time);
    private volatile ReloadStatus _status = ReloadStatus.None;

    // Used while holding the semaphore.
    private LoadedServing? _loaded;
    private ReloadContent? _accepted;
    private string _pendingTold = "";
    private string _failureTold = "";

    // The content that was refused last and why, until something else is taken.
    private string _refused = "";
    private string _refusalTold = "";

    public ReloadStatus Status => _status;

    /// <summary>Every setting in force with its origin, and what waits for a restart.</summary>
    public IReadOnlyList<EffectiveSetting> Settings => settings.List();

    /// <summary>Something serves, so it can be changed.</summary>
    public void Begin(LoadedServing loaded) => Volatile.Write(ref _loaded, loaded);

    /// <summary>Reads the files and brings them into effect, as an operator asks.</summary>
    /// <param name="dryRun">Only say what would happen: nothing is changed, recorded or counted.</param>
    /// <param name="force">Whatever share of recent candidates changes. Errors refuse it all the same.</param>
    /// <param name="actor">Who asks, for the ledger.</param>
    public async Task<ReloadResult> ReloadAsync(bool dryRun, bool force, string actor)
    {
        await _oneAtATime.WaitAsync();
        try
        {
            return Volatile.Read(ref _loaded) is { } loaded
                ? Take(loaded, ReloadContent.Read(files, settings.Options.Policies.FullPath), new Asked(ByOperator, actor, dryRun, force))
                : Nothing("Nothing serves yet. Try again once health says SERVING.");
        }
        finally
        {
            _oneAtATime.Release();
        }
    }

    /// <summary>One look at the files; takes what they say when it was the same at the look before.</summary>
    internal async Task LookAsync(CancellationToken cancellationToken)
    {
        await _oneAtATime.WaitAsync(cancellationToken);
        ReloadContent? content = null;
        try
        {
            if (Volatile.Read(ref _loaded) is not { } loaded)
            {
                return;
            }

            content = ReloadContent.Read(files, settings.Options.Policies.FullPath);
            _failureTold = "";
            if (_watch.IsDue(content.Fingerprint))
            {
                Take(loaded, content, new Asked(ByFile, FileOwner.OfNewest(content.ChangedSince(_accepted)), IsDryRun: false, IsForced: false));
            }
        }
        catch (Exception error) when (error is not OperationCanceledException)
        {
            // Whatever it is: what serves goes on, and the next edit is tried again. Where the files cannot even be looked at, that is the
            // same at each look, and told once.
            _watch.Take(content?.Fingerprint ?? "");
            if (content is not null || error.Message != _failureTold)
            {
                _failureTold = error.Message;
                Failed(logger, error);
            }
        }
        finally
        {
            _oneAtATime.Release();
        }
    }

    public void Dispose() => _oneAtATime.Dispose();

    private ReloadResult Take(LoadedServing before, ReloadContent content, Asked asked)
    {
        var (change, settingsErrors) = settings.Prepare(content.Settings);
        var (policies, policyErrors) = loader.Compile(
            before.Classifiers, (change?.Options ?? settings.Options).Breaker, content.Policies, content.PolicyErrors);
        List<string> errors = [.. settingsErrors, .. policyErrors];
        if (change is not null && errors.Count == 0)
        {
            errors.AddRange(KafkaErrors(change));
        }

        ImmutableArray<ReloadDifference> differences =
        [
            .. change?.Differences ?? [],
            .. policies is null ? [] : Differences(before.Policies, policies),
        ];
        var effect = policies is null ? null : ChangeEffect.Of(before.Policies, policies, recent, time.GetUtcNow());
        if (change is null || policies is null || errors.Count > 0)
        {
            return Refuse(before, content, asked, errors, differences, effect, policies);
        }

        var isChange = differences.Any(static difference => !difference.NeedsRestart);
        if (!asked.IsForced && effect?.ChangedShare > change.Options.Reload.MaxChangedShare)
        {
            errors.Add(
                $"The new policies treat {effect.ChangedShare:P1} of {effect.Candidates} recent candidates otherwise, more than Reload:MaxChangedShare " +
                $"({change.Options.Reload.MaxChangedShare:P1}) allows. Change less, or have an operator force the reload.");
            return Refuse(before, content, asked, errors, differences, effect, policies);
        }

        if (asked.IsDryRun)
        {
            return new ReloadResult(Accepted: true, isChange, [], differences, effect);
        }

        if (isChange && Activate(before, loader.Next(before, policies, change.Options, ConfigRevision(change)), change, differences, effect, asked) is { } obstacle)
        {
            loader.Settle(before);
            return Refuse(before, content, asked, [obstacle.Error], differences, effect, policies, obstacle.MayPass);
        }

        Accept(content, change, asked, differences, effect, isChange);
        return new ReloadResult(Accepted: true, isChange, [], differences, effect);
    }

    /// <returns>Null when it is in effect, whole; otherwise why it is not, at all.</returns>
    private Obstacle? Activate(
        LoadedServing before, LoadedServing after, SettingsChange change, ImmutableArray<ReloadDifference> differences, ChangeEffect? effect, Asked asked)
    {
        try
        {
            after.Snapshot.Prepare(privacy);
        }
        catch (LedgerException error)
        {
            // A key file, which nobody watches.
            return new Obstacle(error.Message, MayPass: true);
        }

        if (serving.Current != before.Snapshot)
        {
            return Stopping;
        }

        archive.KeepPolicies(after.Snapshot);
        var record = Describe(asked, Change.Types.Outcome.Accepted, [], differences, effect, before);
        (record.PoliciesAfter, record.ConfigAfter) = (after.Policies.Revision, after.ConfigRevision);
        var appended = journal.Changed(record);
        if (appended != AppendResult.Appended)
        {
            var remedy = appended == AppendResult.TooLarge ? "Change less at once, or raise Ledger:Spool:MaxRecordBytes." : "Free space for the spool.";
            return new Obstacle($"The ledger does not take the record of the change ({appended}). {remedy}", MayPass: appended is AppendResult.Unavailable or AppendResult.Late);
        }

        foreach (var policy in after.Policies.Policies)
        {
            if (!before.Policies.Policies.Any(old => old.Revision == policy.Revision)
                && activations.Announce(after.Snapshot, policy.Revision) is not AppendResult.Appended and var announced)
            {
                // The change itself is recorded with its revisions, and the archive has the text.
                NotRecorded(logger, policy.Name, announced);
            }
        }

        breakers.Commit(after.Snapshot.Breakers!);
        if (!serving.TryReplace(before.Snapshot, after.Snapshot))
        {
            return Stopping;
        }

        Volatile.Write(ref _loaded, after);
        loader.Settle(after);
        if (differences.Any(static difference => !difference.NeedsRestart && SettingKeys.IsIn(difference.Key, "Ledger:Kafka")))
        {
            ledger.UseKafka(change.Options.Ledger.Kafka);
        }

        return null;
    }

    private void Accept(
        ReloadContent content, SettingsChange change, Asked asked, ImmutableArray<ReloadDifference> differences, ChangeEffect? effect, bool isChange)
    {
        _watch.Take(content.Fingerprint);
        _accepted = content;
        (_refused, _refusalTold) = ("", "");
        settings.Commit(change);
        var pending = settings.Pending;
        _status = _status with { Errors = [], Pending = pending };
        if (string.Join(", ", pending) is var told && told != _pendingTold)
        {
            _pendingTold = told;
            if (pending.Length > 0)
            {
                NeedRestart(logger, told);
            }
        }

        if (!isChange)
        {
            return;
        }

        _status = _status with { Accepted = _status.Accepted + 1, LastAccepted = time.GetUtcNow() };
        metrics.Reloaded(accepted: true, asked.Source);
        Accepted(logger, asked.Actor, asked.Source, Words(differences.Where(static difference => !difference.NeedsRestart)));
        if (effect is not null)
        {
            Effect(logger, effect.Stricter, effect.Laxer, effect.Relabelled, effect.Candidates, effect.Decisions, effect.NotRecomputable);
        }
    }

    private ReloadResult Refuse(
        LoadedServing before, ReloadContent content, Asked asked, List<string> errors, ImmutableArray<ReloadDifference> differences, ChangeEffect? effect,
        PolicySnapshot? policies, bool mayPass = false)
    {
        var result = new ReloadResult(Accepted: false, Changed: !differences.IsEmpty, [.. errors], differences, effect);
        if (asked.IsDryRun || serving.Current is null)
        {
            return result;
        }

        if (mayPass)
        {
            // Nothing is wrong with the files.
            _watch.Postpone(content.Fingerprint);
        }
        else
        {
            _watch.Take(content.Fingerprint);
        }

        _status = _status with { Errors = result.Errors };
        var isRetry = asked.Source == ByFile && content.Fingerprint == _refused;
        var why = string.Join('\n', errors);
        if (!isRetry || why != _refusalTold)
        {
            foreach (var error in errors)
            {
                Refused(logger, asked.Actor, asked.Source, error);
            }
        }

        (_refused, _refusalTold) = (content.Fingerprint, why);
        if (isRetry)
        {
            // The same content has its record already: nobody asked for it again.
            return result;
        }

        _status = _status with { Refused = _status.Refused + 1, LastRefused = time.GetUtcNow() };
        metrics.Reloaded(accepted: false, asked.Source);
        var record = Describe(asked, Change.Types.Outcome.Refused, errors, differences, effect, before);
        record.PoliciesAfter = policies?.Revision ?? "";
        var appended = journal.Changed(record);
        if (appended == AppendResult.TooLarge)
        {
            // What was to change is long; that it was refused, and why, is what must not be missing.
            record.Differences.Clear();
            appended = journal.Changed(record);
        }

        if (appended != AppendResult.Appended)
        {
            NotRecorded(logger, "", appended);
        }

        return result;
    }

    private IEnumerable<string> KafkaErrors(SettingsChange change)
    {
        if (!change.Options.Ledger.Kafka.Enabled || !change.Differences.Any(static difference => !difference.NeedsRestart && SettingKeys.IsIn(difference.Key, "Ledger:Kafka")))
        {
            return [];
        }

        try
        {
            PublisherSession.Check(change.Options.Ledger.Kafka);
            return [];
        }
        catch (LedgerException error)
        {
            return [error.Message];
        }
    }

    private static string ConfigRevision(SettingsChange change) => ServingLoader.ConfigRevision(SettingsFiles.Bindable(change.InForce));

    private static IEnumerable<ReloadDifference> Differences(PolicySnapshot before, PolicySnapshot after)
    {
        var old = before.Policies.ToDictionary(static policy => policy.Name, static policy => policy.Revision, StringComparer.Ordinal);
        var now = after.Policies.ToDictionary(static policy => policy.Name, static policy => policy.Revision, StringComparer.Ordinal);
        return old.Keys.Union(now.Keys, StringComparer.Ordinal).Order(StringComparer.Ordinal)
            .Select(name => new ReloadDifference($"policy {name}", old.GetValueOrDefault(name, ""), now.GetValueOrDefault(name, ""), NeedsRestart: false))
            .Where(static difference => difference.Before != difference.After);
    }

    private static Change Describe(
        Asked asked, Change.Types.Outcome outcome, IReadOnlyList<string> errors, ImmutableArray<ReloadDifference> differences, ChangeEffect? effect, LoadedServing before)
    {
        var change = new Change
        {
            Source = asked.Source,
            Actor = asked.Actor,
            Outcome = outcome,
            PoliciesBefore = before.Policies.Revision,
            ConfigBefore = before.ConfigRevision,
            Forced = asked.IsForced,
            Errors = { errors.Take(MostEntries).Select(Short) },
            Differences =
            {
                differences.Where(static one => !one.NeedsRestart).Take(MostEntries).Select(static one => new Change.Types.Difference
                {
                    Key = Short(one.Key),
                    Before = Short(one.Before),
                    After = Short(one.After),
                }),
            },
        };
        if (effect is not null)
        {
            change.Effect = new Change.Types.Effect
            {
                Decisions = (ulong)effect.Decisions,
                Candidates = (ulong)effect.Candidates,
                Stricter = (ulong)effect.Stricter,
                Laxer = (ulong)effect.Laxer,
                Relabelled = (ulong)effect.Relabelled,
                NotRecomputable = (ulong)effect.NotRecomputable,
            };
        }

        return change;
    }

    private static string Short(string text) => text.Length <= LongestText ? text : string.Concat(text.AsSpan(0, LongestText), "...");

    private static string Words(IEnumerable<ReloadDifference> differences) => string.Join("; ", differences.Take(MostEntries)
        .Select(static one => $"{one.Key}: '{Short(one.Before)}' -> '{Short(one.After)}'"));

    private static ReloadResult Nothing(string error) => new(Accepted: false, Changed: false, [error], [], null);

    [LoggerMessage(EventIds.ReloadAccepted, LogLevel.Information, "A change by '{Actor}' ({Source}) is in effect: {Differences}")]
    private static partial void Accepted(ILogger logger, string actor, string source, string differences);

    [LoggerMessage(EventIds.ReloadRefused, LogLevel.Warning, "A change by '{Actor}' ({Source}) is refused, and all stays as it was: {Error}")]
    private static partial void Refused(ILogger logger, string actor, string source, string error);

    [LoggerMessage(EventIds.ReloadPending, LogLevel.Warning, "These settings differ in the files and take effect at the next start only: {Keys}")]
    private static partial void NeedRestart(ILogger logger, string keys);

    [LoggerMessage(EventIds.ReloadEffect, LogLevel.Information,
        "The new policies treat {Stricter} recent candidates stricter, {Laxer} laxer and give {Relabelled} another label, of {Candidates} in {Decisions} decisions; {NotRecomputable} decisions could not be decided again")]
    private static partial void Effect(ILogger logger, long stricter, long laxer, long relabelled, long candidates, long decisions, long notRecomputable);

    [LoggerMessage(EventIds.ReloadNotRecorded, LogLevel.Warning, "The ledger has no room for the record of a change (policy '{Policy}'): {Result}")]
    private static partial void NotRecorded(ILogger logger, string policy, AppendResult result);

    [LoggerMessage(EventIds.ReloadFailed, LogLevel.Error, "Looking for changed policies and settings failed, which is the sidecar's own mistake; what serves goes on")]
    private static partial void Failed(ILogger logger, Exception error);

    /// <summary>Why a change that is right in itself cannot take effect.</summary>
    /// <param name="MayPass">Whether that may change without an edit of the files.</param>
    private readonly record struct Obstacle(string Error, bool MayPass);

    private readonly record struct Asked(string Source, string Actor, bool IsDryRun, bool IsForced);
}
