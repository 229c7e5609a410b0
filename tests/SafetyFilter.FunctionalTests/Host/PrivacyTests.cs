using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using SafetyFilter.Cli;
using SafetyFilter.FunctionalTests.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Policy;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>A real sidecar whose policy hashes, masks, seals and captures; erasure while it runs; what explains its stream.</summary>
public sealed partial class PrivacyTests : IDisposable
{
    private const string Record = "record: { inputs: full, hash: [request_id, candidate_ids], mask: [caller, viewer.experiment], seal: [viewer.age_band, content_versions, inputs] }\n";

    private readonly DirectoryInfo _policies = Directory.CreateTempSubdirectory("sf-private-");

    public PrivacyTests()
    {
        var kids = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "policies", "kids.yaml"));
        File.WriteAllText(Path.Combine(_policies.FullName, "kids.yaml"), Budget().Replace(kids, "budget_us: 1000000") + "\n" + Record);
    }

    public void Dispose() => _policies.Delete(recursive: true);

    [Fact]
    public async Task Filter_PolicyHidesParts_RecordsHideThemAndCanBeOpenedUntilErased()
    {
        await using var sidecar = await StartAsync();
        var keys = Path.Combine(sidecar.Spool, "subjects.keys");
        using (var wire = Wire.Unix(sidecar.UnixSocket))
        {
            await wire.FilterAsync(Page("page-of-ada", "ada"));
            await wire.FilterAsync(Page("page-of-bob", "bob"));
            await wire.FilterAsync(Page("page-of-nobody", ""));
            var records = SpoolRecords.Decisions(sidecar.Spool);
            AssertHidden(sidecar.Spool, records);
            Assert.Equal(SealState.Opened, Open(keys, records[0], Page("page-of-ada", "ada")));
            Assert.Equal(SealState.Opened, Open(keys, records[1], Page("page-of-bob", "bob")));
            Assert.Contains("not_sealed", await MetricsAsync(sidecar), StringComparison.Ordinal);

            // While it runs.
            Assert.Equal(0, Erase(keys, "ada"));
            Assert.Equal(1, Erase(keys, "ada"));
            await wire.FilterAsync(Page("page-of-ada", "ada"));
            var after = SpoolRecords.Decisions(sidecar.Spool);
            Assert.Equal(SealState.Erased, Open(keys, after[0], null));
            Assert.Equal(SealState.Opened, Open(keys, after[1], Page("page-of-bob", "bob")));
            Assert.Equal(SealState.Opened, Open(keys, after[3], Page("page-of-ada", "ada")));
            Assert.NotEqual(after[0].Sealed.KeyId, after[3].Sealed.KeyId);
        }

        // Nor does a kill bring the old key back, or lose the new one.
        await sidecar.KillAsync();
        await sidecar.RestartAsync(("Policies__Folder", _policies.FullName), ("Ledger__Privacy__MaxSubjects", "100"));
        using (var wire = Wire.Unix(sidecar.UnixSocket))
        {
            await wire.FilterAsync(Page("page-of-ada", "ada"));
        }

        var all = SpoolRecords.Decisions(sidecar.Spool);
        Assert.Equal(SealState.Erased, Open(keys, all[0], null));
        Assert.Equal(all[3].Sealed.KeyId, all[4].Sealed.KeyId);
        Assert.Equal(all[0].RequestId, all[4].RequestId); // The hash key is the same one too.
        Assert.Equal(SealState.Opened, Open(keys, all[4], Page("page-of-ada", "ada")));
        Assert.Equal(0, await sidecar.StopAsync());
        SpoolRecords.Verify(sidecar.Spool);
    }

    [Fact]
    public async Task Start_EachPolicy_IsActivatedBeforeItDecidesAndArchived()
    {
        await using var sidecar = await SidecarProcess.StartAsync();
        using (var wire = Wire.Unix(sidecar.UnixSocket))
        {
            await wire.FilterAsync(Wire.Page("r", "for-you", "a title"));
        }

        Assert.Equal(0, await sidecar.StopAsync());
        var records = SpoolRecords.Read(sidecar.Spool);
        var activations = records.Where(static record => record.Type == RecordType.Activation).Select(static record => Activation.Parser.ParseFrom(record.Bytes)).ToList();
        var decision = records.Single(static record => record.Type == RecordType.Decision);
        Assert.Equal(4, activations.Count);
        Assert.All(activations, activation => Assert.True(activation.Sequence < decision.Sequence));
        foreach (var activation in activations)
        {
            var again = PolicyCompiler.Compile([new PolicySource("p.yaml", activation.Canonical)], null).Snapshot!.Policies[0];
            Assert.Equal(activation.PolicyRevision, again.Revision);
            Assert.Equal(activation.PolicyRevision, Hash(Encoding.UTF8.GetBytes(activation.Canonical)));
            Assert.Equal(activation.Canonical, await File.ReadAllTextAsync(Archived(sidecar, "policies", activation.PolicyRevision + ".yaml"), TestContext.Current.CancellationToken));
            Assert.NotEmpty(activation.Bundles);
            foreach (var bundle in activation.Bundles)
            {
                var folder = Archived(sidecar, "models", Convert.ToHexStringLower(bundle.ModelSha256.Span));
                Assert.True(SpinWait.SpinUntil(() => Directory.Exists(folder), TimeSpan.FromSeconds(10)), folder);
                Assert.Equal(Convert.ToHexStringLower(bundle.ModelSha256.Span), Hash(await File.ReadAllBytesAsync(Path.Combine(folder, "model.onnx"), TestContext.Current.CancellationToken)));
                Assert.Equal(Convert.ToHexStringLower(bundle.ManifestSha256.Span), Hash(await File.ReadAllBytesAsync(Path.Combine(folder, "manifest.json"), TestContext.Current.CancellationToken)));
            }
        }

        var of = activations.Single(static activation => activation.Surfaces.Contains("for-you"));
        Assert.Equal(
            (of.Policy, of.PolicyRevision, of.ConfigRevision, of.Build),
            (decision.Decision.Policy, decision.Decision.PolicyRevision, decision.Decision.ConfigRevision, decision.Decision.Build));
        Assert.Equal(of.Bundles.Select(static bundle => (bundle.Name, bundle.ModelSha256)), decision.Decision.Bundles.Select(static bundle => (bundle.Name, bundle.ModelSha256)));
    }

    private static void AssertHidden(string spool, List<DecisionRecord> records)
    {
        var key = HashKey.Load(Path.Combine(spool, "hash.key"));
        var id = Assert.Single(SpoolRecords.Decisions(spool).Select(static record => record.CandidateIds[0]).Distinct());
        Assert.Equal(key.Of("candidate_ids", "video:0"), id);
        Assert.Equal(key.Of("request_id", "page-of-ada"), records[0].RequestId);
        Assert.Equal(key.Id.ToArray(), records[0].HashKeyId.ToByteArray());
        foreach (var record in records)
        {
            Assert.Equal(("", "", ""), (record.Caller, record.Experiment, record.AgeBand));
            Assert.Empty(record.ContentVersions);
            Assert.Null(record.Inputs);
            Assert.Equal("DE", record.Territory);
        }

        Assert.Equal(["caller", "viewer.experiment"], records[0].Masked);
        Assert.Equal(["content_versions", "viewer.age_band", "inputs"], records[0].Sealed.Paths);
        Assert.Equal(["caller", "viewer.experiment", "content_versions", "viewer.age_band", "inputs"], records[2].Masked);
        Assert.Null(records[2].Sealed);
        string[] tokens = ["page-of", "under-13", "arm-b", "believe", "video:", "subject-"];
        foreach (var record in SpoolRecords.Read(spool).Where(static record => record.Type == RecordType.Decision))
        {
            Assert.All(tokens, token => Assert.True(record.Bytes.AsSpan().IndexOf(Encoding.UTF8.GetBytes(token)) < 0, token));
        }
    }

    private static SealState Open(string keys, DecisionRecord record, FilterRequest? sent)
    {
        using var file = SubjectKeyFile.Open(keys);
        var open = record.Clone();
        var state = SealedFields.Open(open, file);
        if (sent is not null)
        {
            Assert.Equal(sent.Viewer.AgeBand, open.AgeBand);
            Assert.Equal(sent.ContentVersions, open.ContentVersions);
            Assert.Equal(sent.Texts[0].Values, Assert.Single(open.Inputs.Texts).Values);
            Assert.Equal((sent.Tensors[0].Data, 1u), (Assert.Single(open.Inputs.Tensors).Data, open.Inputs.Tensors[0].Dtype));
            Assert.Equal(sent.Tensors[0].Missing, open.Inputs.Tensors[0].Missing);
        }

        return state;
    }

    private static int Erase(string keys, string subject) =>
        AuditCommand.Create().Parse(["erase", "--keys", keys, "--subject", "subject-" + subject]).Invoke(new() { Output = TextWriter.Null, Error = TextWriter.Null });

    private static FilterRequest Page(string id, string subject)
    {
        var page = Pages.Kids(id, seed: 5, count: 40);
        page.Viewer.Subject = subject.Length == 0 ? "" : "subject-" + subject;
        return page;
    }

    private static async Task<string> MetricsAsync(SidecarProcess sidecar)
    {
        using var http = new HttpClient();
        var text = await http.GetStringAsync(sidecar.Metrics, TestContext.Current.CancellationToken);
        return string.Join('\n', text.Split('\n').Where(static line => line.StartsWith("safetyfilter_record_shortfalls", StringComparison.Ordinal)));
    }

    private static string Archived(SidecarProcess sidecar, params ReadOnlySpan<string> parts) => Path.Combine([sidecar.Spool, "archive", .. parts]);

    private static string Hash(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    private Task<SidecarProcess> StartAsync() => SidecarProcess.StartAsync(("Policies__Folder", _policies.FullName), ("Ledger__Privacy__MaxSubjects", "100"));

    [GeneratedRegex(@"budget_us:\s*\d+", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Budget();
}
