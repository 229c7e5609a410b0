using SafetyFilter.Cli.Demo;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;

namespace SafetyFilter.FunctionalTests.Client;

/// <summary>The demo's last word is "0 unexplained differences": here is what it would notice.</summary>
public sealed class LedgerComparisonTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Run_AnswersOfARealSidecar_MatchUntilOneOfThemIsChanged()
    {
        await using var sidecar = await SidecarProcess.StartAsync();
        var ranker = new Ranker(Catalogue.Load(dataFolder: null, seed: 7), seed: 7);
        var page = new Page();
        using (var client = sidecar.Client())
        {
            var log = new AnswerLog();
            for (var number = 0; number < 9; number++)
            {
                ranker.Compose(page, number, SurfaceProfile.Named("for-you"));
                await TrafficPlayer.AskAsync(client, page, log, Cancelled);
            }

            Assert.Equal(0, await sidecar.StopAsync());
            var honest = LedgerComparison.Run(sidecar.Spool, log);
            Assert.Empty(honest.Faults);
            Assert.Empty(honest.Differences);
            Assert.Equal((9, 9, 1), (honest.Compared, honest.Records, honest.Epochs));

            Assert.Contains("rank 2", Changed(sidecar.Spool, log, 3, message => message.Bases[2] = V1.Basis.FailedOpen), StringComparison.Ordinal);
            Assert.Contains("rank 5", Changed(sidecar.Spool, log, 3, message => message.Actions[5] = message.Actions[5] == V1.Action.Block ? V1.Action.Allow : V1.Action.Block), StringComparison.Ordinal);
            Assert.Contains("rank", Changed(sidecar.Spool, log, 3, message => message.Rules[0].Id = "another"), StringComparison.Ordinal);
            Assert.Contains("scores of rank 0", Changed(sidecar.Spool, log, 0, message => message.Scores[0] = MathF.BitIncrement(message.Scores[0])), StringComparison.Ordinal);
            Assert.Contains("policy revision", Changed(sidecar.Spool, log, 3, message => message.PolicyRevision = new string('0', 64)), StringComparison.Ordinal);
            Assert.Contains("degradations", Changed(sidecar.Spool, log, 3, message => message.Degradations.Add(new V1.Degradation { Failure = V1.FailureKind.Error })), StringComparison.Ordinal);
            Assert.Contains("leaf hash", Changed(sidecar.Spool, log, 3, message => message.Receipt.LeafHash = Google.Protobuf.ByteString.CopyFrom(new byte[32])), StringComparison.Ordinal);
            Assert.Contains("nobody was answered", Changed(sidecar.Spool, log, 3, message => message.Receipt.Sequence = 999), StringComparison.Ordinal);
        }
    }

    /// <summary>What the comparison says when one answer reads differently.</summary>
    private static string Changed(string spool, AnswerLog honest, int which, Action<V1.FilterResponse> change)
    {
        var log = new AnswerLog();
        for (var i = 0; i < honest.All.Count; i++)
        {
            var answer = honest.All[i];
            if (i == which)
            {
                var message = answer.Result!.Message.Clone();
                change(message);
                answer = answer with { Result = new FilterResult(message) };
            }

            log.Add(answer);
        }

        return string.Join('\n', LedgerComparison.Run(spool, log).Differences);
    }
}
