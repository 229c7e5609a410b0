using Microsoft.Extensions.Logging;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Sidecar.Reload;
using Outcome = SafetyFilter.Lineage.V1.Change.Types.Outcome;

namespace SafetyFilter.Tests.Sidecar.Reload;

public sealed class ReloadServiceTests
{
    [Fact]
    public async Task Look_NothingWasEdited_ChangesAndRecordsNothing()
    {
        using var bench = new ReloadBench();
        var before = bench.Serving.Current;

        await bench.LookAsync();

        Assert.Same(before, bench.Serving.Current);
        Assert.Empty(bench.Changes());
        Assert.Equal(ReloadStatus.None.Accepted, bench.Reload.Status.Accepted);
    }

    [Fact]
    public async Task Look_PolicyEdited_ServesItOnTheSameBreakersAndRecordsIt()
    {
        using var bench = new ReloadBench();
        bench.Decide();
        var before = bench.Plan;
        bench.WritePolicy(ReloadBench.Policy("0.000001"));

        await bench.LookAsync();

        var after = bench.Plan;
        Assert.NotEqual(before.Policy.Revision, after.Policy.Revision);
        Assert.Same(before.Steps[0].Bundle, after.Steps[0].Bundle);
        var change = Assert.Single(bench.Changes());
        Assert.Equal((Outcome.Accepted, "file", Environment.UserName, false), (change.Outcome, change.Source, change.Actor, change.Forced));
        Assert.Equal(
            new Change.Types.Difference { Key = "policy titles", Before = before.Policy.Revision, After = after.Policy.Revision },
            Assert.Single(change.Differences));
        Assert.Equal(new Change.Types.Effect { Decisions = 1, Candidates = 1, Stricter = 1 }, change.Effect);
        Assert.NotEqual(change.PoliciesBefore, change.PoliciesAfter);
        Assert.Equal(change.ConfigBefore, change.ConfigAfter);
        var activation = Assert.Single(bench.Records(RecordType.Activation, Activation.Parser));
        Assert.Equal((after.Policy.Revision, after.Policy.Canonical), (activation.PolicyRevision, activation.Canonical));
        Assert.True(File.Exists(Path.Combine(Path.GetDirectoryName(bench.Get<Spool>().StreamFolder)!, "archive", "policies", after.Policy.Revision + ".yaml")));
        Assert.Equal(1, bench.Reload.Status.Accepted);
    }

    [Fact]
    public async Task Look_BadEdit_SaysEverythingOnceKeepsTheLastGoodAndTakesTheNextEdit()
    {
        using var bench = new ReloadBench();
        var before = bench.Serving.Current;
        bench.WritePolicy(ReloadBench.Policy("1.3", ", sevrity: high"));
        bench.WriteSettings(new { Breaker = new { FailureRatio = 2 } });

        await bench.LookAsync();
        await bench.LookAsync();

        Assert.Same(before, bench.Serving.Current);
        var change = Assert.Single(bench.Changes());
        Assert.Equal(Outcome.Refused, change.Outcome);
        Assert.Contains(change.Errors, static error => error.StartsWith("Breaker:FailureRatio is 2;", StringComparison.Ordinal));
        Assert.Contains(change.Errors, static error => error.Contains("threshold 1.3", StringComparison.Ordinal));
        Assert.Contains(change.Errors, static error => error.Contains("'sevrity'", StringComparison.Ordinal));
        Assert.Equal(change.Errors, bench.Reload.Status.Errors);

        bench.WriteSettings(new { });
        bench.WritePolicy(ReloadBench.Policy("0.5"));
        await bench.LookAsync();

        Assert.NotSame(before, bench.Serving.Current);
        Assert.Equal([Outcome.Refused, Outcome.Accepted], bench.Changes().Select(static one => one.Outcome));
        Assert.Empty(bench.Reload.Status.Errors);
        Assert.Equal((1, 1), (bench.Reload.Status.Accepted, bench.Reload.Status.Refused));
    }

    [Fact]
    public async Task Look_BadEditIsTakenBack_ForgetsTheErrors()
    {
        using var bench = new ReloadBench();
        var before = bench.Serving.Current;
        bench.WritePolicy("nonsense");
        await bench.LookAsync();
        Assert.NotEmpty(bench.Reload.Status.Errors);
        bench.WritePolicy(ReloadBench.Policy("0.9"));
        await bench.LookAsync();

        Assert.Empty(bench.Reload.Status.Errors);
        Assert.Same(before, bench.Serving.Current);
        Assert.Single(bench.Changes());
    }

    [Fact]
    public async Task Look_ThresholdsAndBudgetEdited_AreInForceTogetherWithTheirRevision()
    {
        using var bench = new ReloadBench();
        var before = bench.Plan;
        bench.WriteSettings(new { Limits = new { MaxBudget = "00:00:00.010" }, Breaker = new { MinimumThroughput = 7 } });

        await bench.LookAsync();

        var after = bench.Plan;
        Assert.Equal((1_000_000u, 10_000u), (before.MaxBudgetMicros, after.MaxBudgetMicros));
        Assert.Equal((20, 7), (before.Steps[0].Bundle.Thresholds.MinimumThroughput, after.Steps[0].Bundle.Thresholds.MinimumThroughput));
        Assert.Same(before.Steps[0].Bundle.Gate, after.Steps[0].Bundle.Gate);
        Assert.Same(before.Steps[0].Bundle.Bundle, after.Steps[0].Bundle.Bundle);
        Assert.NotEqual(before.Terms.ConfigRevisionText, after.Terms.ConfigRevisionText);
        var change = Assert.Single(bench.Changes());
        Assert.Equal(["Breaker:MinimumThroughput 20 7", "Limits:MaxBudget 00:00:01 00:00:00.010"], change.Differences.Select(static one => $"{one.Key} {one.Before} {one.After}"));
        Assert.Null(change.Effect);
        Assert.Equal((before.Terms.ConfigRevisionText, after.Terms.ConfigRevisionText), (change.ConfigBefore, change.ConfigAfter));
        Assert.Empty(bench.Records(RecordType.Activation, Activation.Parser));
    }

    [Fact]
    public async Task Look_LogLevelEdited_FiltersByItAtOnce()
    {
        using var bench = new ReloadBench();
        var log = bench.Get<ILoggerFactory>().CreateLogger("SafetyFilter.Some");
        Assert.False(log.IsEnabled(LogLevel.Debug));
        bench.WriteSettings(new { Logging = new { LogLevel = new Dictionary<string, string>(StringComparer.Ordinal) { ["SafetyFilter.Some"] = "Debug" } } });

        await bench.LookAsync();

        Assert.True(log.IsEnabled(LogLevel.Debug));
        Assert.Equal("Logging:LogLevel:SafetyFilter.Some", Assert.Single(Assert.Single(bench.Changes()).Differences).Key);
    }

    [Fact]
    public async Task Look_WhatNeedsARestartEdited_IsPendingAndNotHalfApplied()
    {
        using var bench = new ReloadBench();
        var before = bench.Serving.Current;
        bench.WriteSettings(new { Drain = new { Flush = "00:00:03" }, Ledger = new { Kafka = new { BootstrapServers = "127.0.0.1:9", Linger = "00:00:00.005" } } });

        await bench.LookAsync();

        Assert.Same(before, bench.Serving.Current);
        Assert.Empty(bench.Changes());
        Assert.Equal(["Drain:Flush", "Ledger:Kafka:BootstrapServers", "Ledger:Kafka:Linger"], bench.Reload.Status.Pending);
        Assert.Equal("00:00:10", bench.Get<Microsoft.Extensions.Configuration.IConfiguration>()["Drain:Flush"]);
        Assert.Contains(new EffectiveSetting("Drain:Flush", "00:00:10", "appsettings.json", "00:00:03"), bench.Reload.Settings);
        Assert.Contains(new EffectiveSetting("Drain:Delay", "00:00:00", "appsettings.json", ""), bench.Reload.Settings);
        Assert.Contains(new EffectiveSetting("Ledger:Archive:Folder", "archive", "command line", ""), bench.Reload.Settings);
    }

    [Fact]
    public async Task Reload_DryRun_SaysWhatWouldHappenAndDoesNothing()
    {
        using var bench = new ReloadBench();
        bench.Decide();
        var before = bench.Serving.Current;
        bench.WritePolicy(ReloadBench.Policy("0.000001"));

        var result = await bench.Reload.ReloadAsync(dryRun: true, force: false, "ann");

        Assert.True(result is { Accepted: true, Changed: true, Errors.IsEmpty: true });
        Assert.Equal("policy titles", Assert.Single(result.Differences).Key);
        Assert.Equal(new ChangeEffect(1, 1, Stricter: 1, 0, 0, 0), result.Effect);
        Assert.Same(before, bench.Serving.Current);
        Assert.Empty(bench.Changes());
    }

    [Fact]
    public async Task Reload_ChangesMoreThanTheShare_IsRefusedUnlessForced()
    {
        using var bench = new ReloadBench(new { Reload = new { MaxChangedShare = 0.5 } });
        bench.Decide();
        bench.WritePolicy(ReloadBench.Policy("0.000001"));

        var refused = await bench.Reload.ReloadAsync(dryRun: false, force: false, "ann");
        await bench.LookAsync();
        Assert.StartsWith("The new policies treat 100", Assert.Single(refused.Errors), StringComparison.Ordinal);
        Assert.False(refused.Accepted);

        var forced = await bench.Reload.ReloadAsync(dryRun: false, force: true, "ann");
        await bench.LookAsync();
        Assert.True(forced.Accepted);
        Assert.Equal(
            [(Outcome.Refused, "rpc", "ann", false), (Outcome.Accepted, "rpc", "ann", true)],
            bench.Changes().Select(static one => (one.Outcome, one.Source, one.Actor, one.Forced)));
    }

    [Fact]
    public async Task Look_TheChangeFitsNoRecord_IsRefusedWithARecordAndNotTriedAgain()
    {
        using var bench = new ReloadBench(maxRecordBytes: 4096);
        var before = bench.Serving.Current;
        bench.WritePolicy(ReloadBench.Policy("0.000001"));
        var levels = Enumerable.Range(0, 20).ToDictionary(static i => new string('c', 300) + i, static _ => "Debug", StringComparer.Ordinal);
        bench.WriteSettings(new { Logging = new { LogLevel = levels } });

        await bench.LookAsync();

        Assert.Same(before, bench.Serving.Current);
        var error = Assert.Single(bench.Reload.Status.Errors);
        Assert.Contains("(TooLarge). Change less at once, or raise Ledger:Spool:MaxRecordBytes.", error, StringComparison.Ordinal);
        var change = Assert.Single(bench.Changes());
        Assert.Equal((Outcome.Refused, error), (change.Outcome, Assert.Single(change.Errors)));

        // Each try archives the policy.
        var archived = Assert.Single(Directory.GetFiles(Path.Combine(bench.Spool, "archive", "policies")));
        File.Delete(archived);
        bench.Time.Advance(TimeSpan.FromHours(1));
        await bench.LookAsync();
        Assert.False(File.Exists(archived));
    }

    [Fact]
    public async Task Look_AKeyFileCannotBeUsed_IsRecordedOnceAndTakesEffectOnceItIsMended()
    {
        using var bench = new ReloadBench();
        var before = bench.Serving.Current;
        await File.WriteAllTextAsync(Path.Combine(bench.Spool, "hash.key"), "no base64!", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(bench.Spool, "subjects.keys"), "no keys", TestContext.Current.CancellationToken);
        bench.WritePolicy(ReloadBench.Policy("0.9") + "\nrecord: { hash: [request_id], seal: [viewer.age_band] }\n");
        await bench.LookAsync();
        Assert.Contains("hash.key", Assert.Single(bench.Reload.Status.Errors), StringComparison.Ordinal);

        // Another reason, the same content: whoever asks hears of it, and the ledger has what there is to have.
        await File.WriteAllTextAsync(Path.Combine(bench.Spool, "hash.key"), Convert.ToBase64String(new byte[32]), TestContext.Current.CancellationToken);
        bench.Time.Advance(ContentWatch.ShortestPause);
        await bench.LookAsync();
        Assert.Contains("subjects.keys", Assert.Single(bench.Reload.Status.Errors), StringComparison.Ordinal);
        Assert.Same(before, bench.Serving.Current);
        Assert.Equal(Outcome.Refused, Assert.Single(bench.Changes()).Outcome);
        Assert.Equal(1, bench.Reload.Status.Refused);

        File.Delete(Path.Combine(bench.Spool, "subjects.keys"));
        await bench.LookAsync();
        Assert.Same(before, bench.Serving.Current);
        bench.Time.Advance(ContentWatch.ShortestPause);
        await bench.LookAsync();
        Assert.Same(before, bench.Serving.Current);
        bench.Time.Advance(ContentWatch.ShortestPause);
        await bench.LookAsync();
        Assert.NotSame(before, bench.Serving.Current);
        Assert.Equal([Outcome.Refused, Outcome.Accepted], bench.Changes().Select(static one => one.Outcome));
        Assert.Empty(bench.Reload.Status.Errors);
    }

    [Fact]
    public async Task Reload_ServingHasEnded_DoesNotBringItBack()
    {
        using var bench = new ReloadBench();
        bench.WritePolicy(ReloadBench.Policy("0.000001"));
        bench.Serving.Swap(null);

        var result = await bench.Reload.ReloadAsync(dryRun: false, force: false, "ann");

        Assert.Equal("The safety filter is stopping.", Assert.Single(result.Errors));
        Assert.Null(bench.Serving.Current);
        Assert.Empty(bench.Changes());
    }
}
