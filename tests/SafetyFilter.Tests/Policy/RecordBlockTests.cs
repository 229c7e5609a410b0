using CsCheck;
using SafetyFilter.Decisions;
using SafetyFilter.Policy;

namespace SafetyFilter.Tests.Policy;

public sealed class RecordBlockTests
{
    private const string Head = """
        policy: p
        owner: team
        surfaces: [s]
        classifiers: { m/a: { fail: closed } }
        rules:
          - { id: r, when: { all: [{ attribute: creator, in: [x] }, { viewer: age_band, in: [adult] }, { language: [de] }] }, action: block, reason: R }

        """;

    [Fact]
    public void Compile_NoBlock_HasTheDefaults() => Assert.Equivalent(RecordTerms.Default, Terms(""), strict: true);

    [Fact]
    public void Compile_WholeBlock_IsWhatIsWritten() => Assert.Equivalent(
        new RecordTerms
        {
            Durability = Durability.Disk,
            RefuseWhenLate = true,
            ServeWhenFull = true,
            InputCapture = 0.25,
            Hash = ["candidate_ids", "request_id"],
            Mask = ["attributes.creator", "caller"],
            Seal = ["inputs", "viewer.age_band"],
        },
        Terms("""
            record:
              durability: disk
              late: refuse
              full: serve
              inputs: { sampled: 0.25 }
              hash: [request_id, candidate_ids]
              mask: [caller, attributes.creator]
              seal: [viewer.age_band, inputs]
            """),
        strict: true);

    [Fact]
    public void Withheld_MaskedAndSealedPathsThatRulesRead()
    {
        var policy = PolicyBench.Compile(Head + "record: { mask: [caller, attributes.creator, viewer.territory], seal: [viewer.age_band, languages] }").Snapshot!.Policies[0];
        Assert.Equal(["attributes.creator", "languages", "viewer.age_band"], policy.Withheld);
    }

    [Theory]
    [InlineData("record: ^x", "'record' is 'x', not a mapping. Write e.g. record: { durability: process }, or remove it.")]
    [InlineData("record: { ^durabilty: disk }", "unknown key 'durabilty' in 'record'. Did you mean 'durability'?")]
    [InlineData("record: { durability: ^disc }", "'durability' is 'disc'. Did you mean 'disk'? Use one of: memory, process, disk.")]
    [InlineData("record: { late: ^serve }", "'late' is 'serve'. Use one of: pending, refuse.")]
    [InlineData("record: { full: ^drop }", "'full' is 'drop'. Use one of: refuse, serve.")]
    [InlineData("record: { inputs: ^all }", "'inputs' is 'all'. Use one of: digest, full.")]
    [InlineData("record: { inputs: { sampled: ^1 } }", "share 1 of sampled requests is not between 0 and 1. Use inputs: full for all of them and inputs: digest for none.")]
    [InlineData("record: { inputs: { sampled: ^0 } }", "share 0 of sampled requests is not between 0 and 1. Use inputs: full for all of them and inputs: digest for none.")]
    [InlineData("record: { inputs: ^{} }", "'inputs' has no 'sampled'. Write inputs: digest, inputs: full or inputs: { sampled: 0.01 }.")]
    [InlineData("record: { mask: ^caller }", "'mask' is 'caller', not a list. Write it as a list, e.g. mask: [request_id].")]
    [InlineData("record: { mask: [^calller] }", "'calller' is not a part of a record. Did you mean 'caller'? Use one of: request_id, caller, trace, candidate_ids, content_versions, input_digests, languages, inputs, viewer.territory, viewer.age_band, viewer.experiment, idempotency_key, attributes.NAME.")]
    [InlineData("record: { hash: [^viewer.age_band] }", "'viewer.age_band' cannot be hashed: it is no identifier. Mask or seal it. Only these can be hashed: request_id, caller, candidate_ids, content_versions, idempotency_key.")]
    [InlineData("record: { hash: [^attributes.creator] }", "'attributes.creator' cannot be hashed: it is no identifier. Mask or seal it. Only these can be hashed: request_id, caller, candidate_ids, content_versions, idempotency_key.")]
    [InlineData("record: { hash: [^surface] }", "'surface' is not a part of a record. Use one of: request_id, caller, candidate_ids, content_versions, idempotency_key.")]
    [InlineData("record: { mask: [caller, ^caller] }", "'caller' is listed twice. Keep one of them.")]
    [InlineData("record: { mask: [caller], seal: [^caller] }", "'caller' is under 'seal' and, in line 7, under 'mask'. Keep one of them.")]
    [InlineData("record: { mask: [^attributes.creater] }", "no rule reads attribute 'creater', so that no record has it. Did you mean 'attributes.creator'?")]
    [InlineData("record: { seal: [^attributes.other] }", "no rule reads attribute 'other', so that no record has it. Remove it.")]
    [InlineData("record: { inputs: ^full, mask: [inputs] }", "inputs are captured and masked. Remove 'inputs' from 'mask', or write inputs: digest.")]
    [InlineData("record: ^{ seal: [inputs] }", "'inputs' is sealed but not captured. Write inputs: full or inputs: { sampled: 0.01 }, or remove it from 'seal'.")]
    public void Compile_WrongBlock_SaysWhereWhatAndWhy(string block, string error)
    {
        var column = block.IndexOf('^', StringComparison.Ordinal) + 1;
        var found = Assert.Single(PolicyBench.Compile(Head + block.Remove(column - 1, 1)).Errors);
        Assert.Equal($"p.yaml:7:{column}: {error} (owner: team)", found.ToString());
    }

    [Fact]
    public void Canonical_AnyBlock_CompilesToTheSameRevision() => Blocks.Sample(block =>
    {
        var policy = PolicyBench.Compile(Head + block).Snapshot!.Policies[0];
        var again = PolicyBench.Compile(policy.Canonical).Snapshot!.Policies[0];
        Assert.Equal(policy.Revision, again.Revision);
        Assert.Equivalent(policy.Record, again.Record, strict: true);
    });

    private static Gen<string> Blocks { get; } =
        from durability in Gen.OneOf("memory", "process", "disk")
        from late in Gen.OneOf("pending", "refuse")
        from full in Gen.OneOf("refuse", "serve")
        from share in Gen.Double.Unit.Where(static share => share > 0)
        from places in Gen.Int[0, 3].Array[RecordPaths.All.Length]
        let paths = RecordPaths.All.Select((path, i) => (path, place: places[i] == 1 && !RecordPaths.Hashable.Contains(path) || places[i] == 2 && path == "inputs" ? 0 : places[i])).Reverse().ToList()
        select $"record: {{ durability: {durability}, late: {late}, full: {full}, inputs: {{ sampled: {share.ToString("R", System.Globalization.CultureInfo.InvariantCulture)} }}, "
            + $"hash: [{Join(paths, 1)}], mask: [{Join(paths, 2)}], seal: [{Join(paths, 3)}] }}";

    private static string Join(List<(string Path, int Place)> paths, int place) => string.Join(", ", paths.Where(pair => pair.Place == place).Select(static pair => pair.Path));

    private static RecordTerms Terms(string block)
    {
        var (snapshot, errors) = PolicyBench.Compile(Head + block);
        Assert.Empty(errors);
        return snapshot!.Policies[0].Record;
    }
}
