using System.Text.Json;
using SafetyFilter.Cli;
using SafetyFilter.FunctionalTests.Host;

namespace SafetyFilter.FunctionalTests.Decisions;

/// <summary>What a real sidecar recorded, in an auditor's hands.</summary>
public sealed class AuditTests
{
    [Fact]
    public async Task Audit_SpoolOfARealSidecar_ReplaysEqualAndExplainsItself()
    {
        await using var sidecar = await SidecarProcess.StartAsync();
        using (var channel = sidecar.Channel())
        {
            var client = new SafetyFilter.V1.SafetyFilter.SafetyFilterClient(channel);
            for (var i = 0; i < 5; i++)
            {
                await client.FilterAsync(Pages.Kids($"audited-{i}", seed: i, count: 50), cancellationToken: TestContext.Current.CancellationToken);
            }
        }

        Assert.Equal(0, await sidecar.StopAsync());
        var record = SpoolRecords.Decisions(sidecar.Spool)[0];
        var policies = Path.Combine(sidecar.Folder, "policies");

        var (code, text) = Run("replay", "--json", "--policies", policies, sidecar.Spool);
        using var verdict = JsonDocument.Parse(text);
        Assert.Equal((0, 5), (code, verdict.RootElement.GetProperty("equal_decisions").GetInt32()));

        (code, text) = Run("show", "--request", record.RequestId, "--policies", policies, sidecar.Spool);
        Assert.Equal(0, code);
        Assert.Contains(record.PolicyRevision, text, StringComparison.Ordinal);

        var policy = Path.Combine(policies, record.Policy + ".yaml");
        Assert.Equal(0, Run("whatif", "--policy", policy, "--policies", policies, sidecar.Spool).Code);
    }

    private static (int Code, string Output) Run(params string[] arguments)
    {
        var output = new StringWriter();
        var code = AuditCommand.Create().Parse(arguments).Invoke(new() { Output = output, Error = TextWriter.Null });
        return (code, output.ToString());
    }
}
