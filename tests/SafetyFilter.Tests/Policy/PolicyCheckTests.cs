using System.Text.Json;
using SafetyFilter.Decisions;
using SafetyFilter.Policy;

namespace SafetyFilter.Tests.Policy;

public sealed class PolicyCheckTests : IDisposable
{
    private const string Sound = """
        policy: p
        owner: team
        surfaces: [feed, home]
        classifiers: { m/a: { fail: closed }, m/b: { fail: open } }
        rules:
          - { id: block-it, when: { score: m/a, at_least: 0.9 }, action: block, reason: BAD, severity: high }
          - { id: old, when: { always: true }, action: { demote: 0.5 }, reason: OLD, expires: 2026-01-01 }
          - { id: maybe, when: { score: m/b, at_least: 0.9 }, action: { label: "Ü \"x\"" }, reason: BAIT, shadow: true }
        """;

    private readonly string _folder = Directory.CreateTempSubdirectory("policy-check").FullName;
    private readonly StringWriter _output = new();
    private readonly StringWriter _error = new();

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Run_SoundPolicy_TellsWhatEachSurfaceDoes()
    {
        var file = Write("p.yaml", Sound);

        File.WriteAllBytes(file, [0xEF, 0xBB, 0xBF, .. File.ReadAllBytes(file)]); // Windows editors mark UTF-8.

        Assert.Equal(PolicyCheck.Fine, Run([file]));
        var revision = PolicyBench.Compile(Sound).Snapshot!.Policies[0].Revision;
        Assert.Equal(
            $$"""
            feed, home: policy p, revision {{revision[..12]}}, owner team
              serves recommendation; strongest match decides; budget 1000 us
              fails closed: m/a
              fails open: m/b
              block                    BAD                  high     block-it
              demote x0.5              OLD                  medium   old (EXPIRED 2026-01-02T00:00:00Z: no longer matches)
              label Ü "x"              BAIT                 medium   maybe (shadow)
              record {"durability": "process", "late": "pending", "full": "refuse", "inputs": "digest", "hash": [], "mask": [], "seal": []}

            2 surfaces, 1 policy, no errors. Checked without models: whether the classifiers exist is not known.

            """,
            _output.ToString());
    }

    [Fact]
    public void Run_RecordsWithholdWhatRulesRead_SaysSo()
    {
        var yaml = Sound.Replace("{ always: true }", "{ viewer: territory, in: [DE] }", StringComparison.Ordinal)
            + "\nrecord: { mask: [viewer.territory, viewer.age_band] }\n";
        Assert.Equal(PolicyCheck.Fine, Run([Write("p.yaml", yaml)]));
        Assert.Contains(
            "  note: rules read viewer.territory, which records do not show: decisions that depend on it cannot be computed again from their records",
            _output.ToString(),
            StringComparison.Ordinal);
    }

    [Fact]
    public void Run_FolderWithErrors_PrintsAllOfThem()
    {
        Write("a.yaml", Sound);
        Write("b.yml", Sound.Replace("0.9", "9", StringComparison.Ordinal));
        Write("c.txt", "not a policy");
        Write(".hidden.yaml", "not a policy");
        File.WriteAllBytes(Path.Combine(_folder, "d.yaml"), [0xff, 0xfe, 0xfd]);

        Assert.Equal(PolicyCheck.HasErrors, Run([_folder]));
        Assert.Equal(
            """
            d.yaml:1:1: the file is not UTF-8. Save it as UTF-8. (owner: not named)
            b.yml:1:9: policy 'p' is already in a.yaml:1. Each policy has one place; remove one. (owner: team)
            b.yml:3:12: surface 'feed' is already in a.yaml:3. Each surface has one place; remove one. (owner: team)
            b.yml:3:18: surface 'home' is already in a.yaml:3. Each surface has one place; remove one. (owner: team)
            b.yml:6:51: threshold 9 for 'm/a' is outside 0..1. Use a probability. (owner: team)
            b.yml:8:48: threshold 9 for 'm/b' is outside 0..1. Use a probability. (owner: team)
            6 errors. Nothing would be loaded.

            """,
            _output.ToString());
    }

    [Fact]
    public void Run_Json_IsReadableByPrograms()
    {
        Assert.Equal(PolicyCheck.Fine, Run([Write("p.yaml", Sound)], json: true));

        using var document = JsonDocument.Parse(_output.ToString());
        var surface = document.RootElement.GetProperty("surfaces")[1];
        Assert.True(document.RootElement.GetProperty("ok").GetBoolean());
        Assert.Equal("home", surface.GetProperty("surface").GetString());
        Assert.Equal("closed", surface.GetProperty("classifiers").GetProperty("m/a").GetString());
        Assert.Equal("Ü \"x\"", surface.GetProperty("rules")[2].GetProperty("action").GetProperty("label").GetString());
        Assert.True(surface.GetProperty("rules")[1].GetProperty("expired").GetBoolean());
        Assert.Equal("process", surface.GetProperty("record").GetProperty("durability").GetString());
        Assert.Equal(0, surface.GetProperty("notes").GetArrayLength());
    }

    [Fact]
    public void Run_JsonWithErrors_ListsThem()
    {
        Assert.Equal(PolicyCheck.HasErrors, Run([Write("p.yaml", "policy: [")], json: true));

        using var document = JsonDocument.Parse(_output.ToString());
        var error = Assert.Single(document.RootElement.GetProperty("errors").EnumerateArray());
        Assert.Equal("p.yaml", error.GetProperty("file").GetString());
        Assert.Equal(0, document.RootElement.GetProperty("surfaces").GetArrayLength());
    }

    [Fact]
    public void Run_Models_ChecksClassifiersAgainstThem()
    {
        var known = new Dictionary<string, ClassifierTerms>(StringComparer.Ordinal)
        {
            ["m/a"] = new(CandidateAction.Label, ["recommendation"], ["*"], null),
            ["m/b"] = new(CandidateAction.Block, ["recommendation"], ["*"], null),
        };

        Assert.Equal(PolicyCheck.HasErrors, Run([Write("p.yaml", Sound)], known: known));
        Assert.Contains("whose bundle goes no further than label", _output.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Run_NothingToCheck_IsWrongUsageOrAnError()
    {
        Assert.Equal(PolicyCheck.WrongUsage, Run([]));
        Assert.Equal(PolicyCheck.WrongUsage, Run([Path.Combine(_folder, "absent.yaml")]));
        Assert.Contains("absent.yaml' does not exist", _error.ToString(), StringComparison.Ordinal);
        Assert.Equal(PolicyCheck.HasErrors, Run([_folder]));
        Assert.Contains("holds no .yaml or .yml file", _output.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Compile_ShippedPolicies_AreSoundAndKeepWithinTheirBundles()
    {
        var (sources, unreadable) = PolicySource.ReadFolder(Path.Combine(AppContext.BaseDirectory, "policies"));
        var known = new Dictionary<string, ClassifierTerms>(StringComparer.Ordinal);
        foreach (var label in new[] { "toxicity", "hate", "harassment", "spam", "clickbait", "prompt-injection" })
        {
            foreach (var bundle in new[] { "text-safety", "embedding-safety" })
            {
                known[$"{bundle}/{label}"] = new ClassifierTerms(
                    label is "clickbait" or "harassment" ? CandidateAction.Demote : CandidateAction.Block, ["recommendation"], ["*"], null);
            }
        }

        var (snapshot, errors) = PolicyCompiler.Compile(sources, known, PolicyBench.Now);

        Assert.Empty(unreadable);
        Assert.Empty(errors);
        Assert.Equal(["for-you", "home", "kids", "search", "shorts"], snapshot!.Surfaces.Select(policy => policy.Surface));
        Assert.All(snapshot.Surfaces.Single(policy => policy.Surface == "kids").Classifiers, c => Assert.Equal(FailMode.Closed, c.FailMode));
    }

    private int Run(string[] paths, Dictionary<string, ClassifierTerms>? known = null, bool json = false) =>
        new PolicyCheck(_output, _error).Run(paths, known, json, PolicyBench.Now);

    private string Write(string name, string text)
    {
        var path = Path.Combine(_folder, name);
        File.WriteAllText(path, text);
        return path;
    }
}
