using System.Diagnostics;
using SafetyFilter.Cli;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.V1;
using Outcome = SafetyFilter.Lineage.V1.Change.Types.Outcome;

namespace SafetyFilter.FunctionalTests.Reload;

/// <summary>Every way in which people and platforms edit files, on the real sidecar.</summary>
public sealed class EditTests
{
    [Fact]
    public async Task Edit_AtomicRename_ServesWithTheNewPolicyAndRecordsIt()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(new { });
        var before = await reloading.AskAsync();
        reloading.RenamePolicy(1);
        var took = await reloading.UntilServesAsync(1);

        TestContext.Current.SendDiagnosticMessage($"A renamed policy served after {took.TotalMilliseconds:F0} ms.");
        var after = await reloading.AskAsync();
        Assert.Equal(ReloadingSidecar.Rule(1), after.Rules[(int)after.RuleIndexes[0]].Id);
        var change = Assert.Single(reloading.Changes());
        Assert.Equal((Outcome.Accepted, "file", Environment.UserName), (change.Outcome, change.Source, change.Actor));
        var difference = Assert.Single(change.Differences);
        Assert.Equal(("policy titles", before.PolicyRevision, after.PolicyRevision), (difference.Key, difference.Before, difference.After));
        Assert.True(change.Effect is { Candidates: >= 1, Stricter: 0, Laxer: 0 });
        Assert.Equal(1, (await Scraped.FromAsync(reloading.Sidecar)).Value("safetyfilter_reloads", "outcome=\"accepted\"", "source=\"file\""));
        SpoolRecords.Verify(reloading.Sidecar.Spool);
    }

    [Fact]
    public async Task Edit_ConfigMapLinkIsSwapped_ServesWithTheNewPolicy()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(new { });

        // As the kubelet does: the files are links through ..data, which is a link to a folder of the moment.
        File.Delete(reloading.PolicyFile);
        Publish(1);
        File.CreateSymbolicLink(reloading.PolicyFile, Path.Combine("..data", "titles.yaml"));
        await reloading.UntilServesAsync(1);
        Publish(2);
        await reloading.UntilServesAsync(2);

        void Publish(int number)
        {
            var version = Directory.CreateDirectory(Path.Combine(reloading.Policies, $"..version-{number}"));
            File.WriteAllText(Path.Combine(version.FullName, "titles.yaml"), ReloadingSidecar.Policy(number));
            File.CreateSymbolicLink(Path.Combine(reloading.Policies, "..data_tmp"), version.Name);
            using var move = Process.Start("mv", ["-T", Path.Combine(reloading.Policies, "..data_tmp"), Path.Combine(reloading.Policies, "..data")]);
            move.WaitForExit();
            Assert.Equal(0, move.ExitCode);
        }
    }

    [Fact]
    public async Task Edit_TruncatedAndWrittenInPieces_ServesWithTheWhole()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(new { });
        await using (var file = new FileStream(reloading.PolicyFile, FileMode.Create, FileAccess.Write, FileShare.ReadWrite))
        {
            foreach (var piece in System.Text.Encoding.UTF8.GetBytes(ReloadingSidecar.Policy(1)).Chunk(16))
            {
                await file.WriteAsync(piece, TestContext.Current.CancellationToken);
                await file.FlushAsync(TestContext.Current.CancellationToken);
                await reloading.AskAsync();
            }
        }

        await reloading.UntilServesAsync(1);
    }

    [Fact]
    public async Task Edit_HalfWrittenAndLeftSo_KeepsTheLastGoodUntilItIsFinished()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(new { });
        var text = ReloadingSidecar.Policy(1);
        var half = text.IndexOf("when:", StringComparison.Ordinal);
        await File.WriteAllTextAsync(reloading.PolicyFile, text[..half], TestContext.Current.CancellationToken);
        await ReloadingSidecar.UntilAsync(() => Task.FromResult(reloading.Changes().Count == 1), "the half is refused");
        Assert.Equal(ReloadingSidecar.Budget(0), (await reloading.AskAsync()).BudgetMicros);

        await File.AppendAllTextAsync(reloading.PolicyFile, text[half..], TestContext.Current.CancellationToken);
        await reloading.UntilServesAsync(1);
        Assert.Equal([Outcome.Refused, Outcome.Accepted], reloading.Changes().Select(static change => change.Outcome));
    }

    [Fact]
    public async Task Edit_BadPolicyAndSettings_AreRefusedWithEveryErrorOnceAndMendedByTheNextEdit()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(new { });
        reloading.WriteSettings(new { Limits = new { MaxBudget = "00:01:00" } });
        await ReloadingSidecar.UntilAsync(() => Task.FromResult(reloading.Changes().Count == 1), "the settings are refused");
        await File.WriteAllTextAsync(reloading.PolicyFile, ReloadingSidecar.Policy(1).Replace("at_least: 0.000001", "at_least: 1.3", StringComparison.Ordinal), TestContext.Current.CancellationToken);
        await ReloadingSidecar.UntilAsync(() => Task.FromResult(reloading.Changes().Count == 2), "both are refused");

        Assert.Contains(reloading.Changes()[1].Errors, static error => error.StartsWith("Limits:MaxBudget is 00:01:00;", StringComparison.Ordinal));
        Assert.Contains(reloading.Changes()[1].Errors, static error => error.Contains("threshold 1.3", StringComparison.Ordinal));
        Assert.Equal(2, (await Scraped.FromAsync(reloading.Sidecar)).Value("safetyfilter_reloads", "outcome=\"refused\""));
        Assert.Equal(1, reloading.Sidecar.Output.Count(static line => line.Contains("\"EventId\":1301", StringComparison.Ordinal) && line.Contains("threshold 1.3", StringComparison.Ordinal)));

        reloading.WriteSettings(new { });
        reloading.RenamePolicy(2);
        await reloading.UntilServesAsync(2);
        Assert.Equal(Outcome.Accepted, reloading.Changes()[^1].Outcome);
    }

    [Fact]
    public async Task Edit_BreakerThreshold_OpensByTheNewOne()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(
            new { Breaker = new { MinimumThroughput = 1_000_000 } }, ("Chaos__Enabled", "true"), ("Chaos__Bundles__text-safety__FaultRate", "1"));
        for (var call = 0; call < 30; call++)
        {
            Assert.Equal(FailureKind.Error, (await reloading.AskAsync()).Classifiers[0].Failure);
        }

        reloading.WriteSettings(new { Breaker = new { MinimumThroughput = 5 } });
        await ReloadingSidecar.UntilAsync(
            async () => (await reloading.AskAsync()).Classifiers[0].Failure == FailureKind.BreakerOpen, "the breaker opens by the new threshold");
        var difference = Assert.Single(Assert.Single(reloading.Changes()).Differences);
        Assert.Equal(("Breaker:MinimumThroughput", "1000000", "5"), (difference.Key, difference.Before, difference.After));
    }

    [Fact]
    public async Task Edit_Budget_BoundsTheNextRequests()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(new { });
        reloading.WriteSettings(new { Limits = new { MaxBudget = "00:00:00.300" } });
        await ReloadingSidecar.UntilAsync(
            async () => await reloading.AskAsync() is { BudgetMicros: 300_000, BudgetBound: BudgetBound.Server }, "the budget is the server's");
    }

    [Fact]
    public async Task Edit_SplitAbove_SplitsTheNextPagesAndAnAuditorScoresTheSameParts()
    {
        // With one core nothing is ever split.
        var parts = Math.Min(3, Environment.ProcessorCount) is > 1 and var several ? (uint)several : 0;
        var page = Wire.Page("split", "titles", [.. Enumerable.Range(0, 100).Select(static title => $"{title} quiet walks and a walk that costs money now")]);
        await using var reloading = await ReloadingSidecar.StartAsync(new { });
        reloading.RenamePolicy(ReloadingSidecar.Policy(1) + "\nrecord: { inputs: full }\n");
        await reloading.UntilServesAsync(1);
        Assert.Equal(0u, await PartsAsync());
        reloading.WriteSettings(new { Scoring = new { SplitAbove = 40 } });
        await ReloadingSidecar.UntilAsync(() => Task.FromResult(reloading.Changes().Count == 2), "the settings are taken");
        await ReloadingSidecar.UntilAsync(async () => await PartsAsync() == parts, "pages are split");

        var output = new StringWriter();
        var code = AuditCommand.Create().Parse(["replay", "--json", "--models", Path.Combine(AppContext.BaseDirectory, "models"), reloading.Sidecar.Spool])
            .Invoke(new() { Output = output, Error = TextWriter.Null });
        Assert.True(code == 0, output.ToString());

        async Task<uint> PartsAsync()
        {
            var answer = await reloading.Wire.FilterAsync(page);
            Assert.Equal(FailureKind.Unspecified, answer.Classifiers[0].Failure);
            return Assert.Single(SpoolRecords.Find(reloading.Sidecar.Spool, answer.Receipt.Sequence).Decision.Bundles).Parts;
        }
    }

    [Fact]
    public async Task Edit_LogLevel_ShowsAndHidesFromThenOn()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(new { });
        reloading.WriteSettings(new { Logging = new { LogLevel = new { Grpc = "Trace" } } });
        await ReloadingSidecar.UntilAsync(
            async () =>
            {
                await reloading.AskAsync();
                return reloading.Sidecar.Output.Any(static line => line.Contains("\"Category\":\"Grpc", StringComparison.Ordinal));
            },
            "gRPC's own lines are logged");
    }

    [Fact]
    public async Task Edit_WhatNeedsARestart_IsToldAndServesOn()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(new { });
        reloading.WriteSettings(new { Limits = new { MaxCandidates = 1 } });
        await ReloadingSidecar.UntilAsync(
            () => Task.FromResult(reloading.Sidecar.Output.Any(static line => line.Contains("\"EventId\":1302", StringComparison.Ordinal) && line.Contains("Limits:MaxCandidates", StringComparison.Ordinal))),
            "the log says that it waits for a restart");
        var response = await reloading.Wire.FilterAsync(Wire.Page("two", "titles", "Ten quiet walks", "A bicycle tyre"));
        Assert.Equal(2, response.Actions.Count);
        Assert.Empty(reloading.Changes());
    }
}
