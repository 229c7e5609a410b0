using Google.Protobuf;
using SafetyFilter.Audit;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Tests.Filtering;

namespace SafetyFilter.Tests.Audit;

public sealed class ShowTests : IDisposable
{
    private readonly EngineBench _bench = new(AuditBench.Rich, measured: false);
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-show-");

    public void Dispose()
    {
        _bench.Dispose();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public void Show_Request_TellsWhatTheRecordSaysAndWhatTheRuleDemands()
    {
        AuditBench.Decide(_bench, 40);
        var record = _bench.Records().First(static one => one.Actions.Contains(DecisionRecord.Types.Action.Block));
        var blocked = record.Actions.IndexOf(DecisionRecord.Types.Action.Block);

        var (code, text, error) = AuditRun.Run("show", "--request", record.RequestId, "--policies", Policies(), _bench.Ledger.StreamFolder);

        Assert.True(code == 1, error);
        foreach (var fact in (string[])[
            record.RequestId, $"Decision {record.Sequence} of", record.Surface, record.PolicyRevision, "roots 1.0.0", Convert.ToHexStringLower(record.Bundles[0].ModelSha256.Span),
            $"Candidate {blocked} '{record.CandidateIds[blocked]}'", "both: numbers/alpha is at least 0.4 and roots/gamma is above 0.3", "reason:    B, severity high",
            $"numbers/alpha {record.Scores[blocked]:R} (the rule reads it)", $"margin:    {record.Margins[blocked]:R}", "NOT PROVEN: no signed checkpoint"])
        {
            Assert.Contains(fact, text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Show_CandidateInSeveralDecisions_ListsThemAndTellsTheNewest()
    {
        AuditBench.Decide(_bench, 3);

        var (code, text, _) = AuditRun.Run("show", "--candidate", "0", _bench.Ledger.StreamFolder);
        var (_, all, _) = AuditRun.Run("show", "--candidate", "0", "--all", _bench.Ledger.StreamFolder);

        Assert.Equal(1, code);
        Assert.Contains("3 decisions match", text, StringComparison.Ordinal);
        Assert.Single(text.Split('\n'), static line => line.StartsWith("Candidate ", StringComparison.Ordinal));
        Assert.Equal(3, all.Split('\n').Count(static line => line.StartsWith("Decision ", StringComparison.Ordinal)));
        Assert.Contains("not at hand", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Show_CoveredByASignedTree_IsProvenForItsIdentityOnly()
    {
        AuditBench.Decide(_bench, 5);
        var record = _bench.Records()[2];
        _bench.Ledger.Close();
        var spool = Path.GetDirectoryName(_bench.Ledger.StreamFolder)!;
        using var stranger = NoteKey.Generate(EpochCertificate.IdentityName);

        var anybody = AuditRun.Run("show", "--sequence", $"{record.Sequence}", spool);
        var pinned = AuditRun.Run("show", "--sequence", $"{record.Sequence}", "--identity", Path.Combine(spool, "identity.pub"), spool);
        var other = AuditRun.Run("show", "--sequence", $"{record.Sequence}", "--identity", stranger.Verifier.Text, spool);
        var json = AuditRun.Run("show", "--json", "--sequence", $"{record.Sequence}", "--identity", Path.Combine(spool, "identity.pub"), spool);

        Assert.Equal((0, 0, 1, 0), (anybody.Code, pinned.Code, other.Code, json.Code));
        Assert.Contains("pin it with --identity", anybody.Output, StringComparison.Ordinal);
        Assert.Contains("verified: the record is in the signed tree", pinned.Output, StringComparison.Ordinal);
        Assert.Contains("NOT PROVEN", other.Output, StringComparison.Ordinal);
        using var told = System.Text.Json.JsonDocument.Parse(json.Output);
        var decision = told.RootElement.GetProperty("decisions")[0];
        Assert.True(decision.GetProperty("proven").GetBoolean());
        Assert.Equal(record.CandidateIds, decision.GetProperty("candidates").EnumerateArray().Select(static one => one.GetProperty("candidate_id").GetString()));
        Assert.Equal(record.Sequence - 1, decision.GetProperty("proof").GetProperty("leaf_index").GetUInt64());
    }

    [Theory]
    [InlineData("replay", "--policies", "{policies}")]
    [InlineData("whatif", "--policy", "{policies}/p.yaml", "--policies", "{policies}")]
    [InlineData("show", "--candidate", "0")]
    [InlineData("export", "--format", "jsonl", "--out", "{policies}/rows.jsonl")]
    public void Audit_AByteOfADecisionFlipped_IsToldAndExitsWith1(params string[] arguments)
    {
        AuditBench.Decide(_bench, 5);
        _bench.Ledger.Close();
        var damaged = Path.Combine(_folder.FullName, "damaged.seg");
        File.Copy(Directory.GetFiles(_bench.Ledger.StreamFolder, "*.seg").Single(), damaged);
        var bytes = File.ReadAllBytes(damaged);
        var victim = bytes.AsSpan().IndexOf(System.Text.Encoding.UTF8.GetBytes(_bench.Records()[3].RequestId));
        Assert.True(victim > 0);
        bytes[victim] ^= 1;
        File.WriteAllBytes(damaged, bytes);
        var policies = Policies();
        var whole = arguments.Select(one => one.Replace("{policies}", policies, StringComparison.Ordinal)).ToArray();

        var (good, _, first) = AuditRun.Run([.. whole, Path.GetDirectoryName(_bench.Ledger.StreamFolder)!]);
        var (code, _, error) = AuditRun.Run([.. whole, damaged]);

        Assert.True(good == 0, first);
        Assert.Equal(1, code);
        Assert.Contains("1 damaged places", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1, "show", "--request", "nobody")]
    [InlineData(2, "show")]
    [InlineData(2, "show", "--request", "a", "--hash-key", "/nowhere")]
    [InlineData(1, "replay")]
    [InlineData(0, "replay", "--allow-missing")]
    [InlineData(2, "replay", "--policies", "/nowhere")]
    [InlineData(2, "replay", "--from", "yesterday")]
    [InlineData(2, "replay", "--from", "2100-01-01")]
    [InlineData(2, "whatif", "--policy", "/nowhere.yaml")]
    public void Audit_ExitCodes_AreAsDocumented(int expected, params string[] arguments)
    {
        AuditBench.Decide(_bench, 2);

        var (code, output, error) = AuditRun.Run([.. arguments, _bench.Ledger.StreamFolder]);

        Assert.True(code == expected, $"{code}: {output}{error}");
        Assert.True(code == 0 || error.Length + output.Length > 0);
    }

    [Fact]
    public void ReplayAndWhatIf_Commands_ReadFoldersAndPrintTablesAndJson()
    {
        AuditBench.Decide(_bench, 20);
        var policies = Policies();
        var changed = Path.Combine(_folder.FullName, "changed.yaml");
        File.WriteAllText(changed, AuditBench.Rich.Replace("at_least: 0.4", "at_least: 0.2", StringComparison.Ordinal));

        var replay = AuditRun.Run("replay", "--json", "--policies", policies, _bench.Ledger.StreamFolder);
        var table = AuditRun.Run("whatif", "--policy", changed, "--policies", policies, _bench.Ledger.StreamFolder);
        var json = AuditRun.Run("whatif", "--json", "--policy", changed, "--policies", policies, _bench.Ledger.StreamFolder);
        var same = AuditRun.Run("whatif", "--policy", Path.Combine(policies, "p.yaml"), "--policies", policies, _bench.Ledger.StreamFolder);

        using var verdict = System.Text.Json.JsonDocument.Parse(replay.Output);
        Assert.Equal((0, true, 20), (replay.Code, verdict.RootElement.GetProperty("equal").GetBoolean(), verdict.RootElement.GetProperty("equal_decisions").GetInt32()));
        Assert.Equal((1, 1, 0), (table.Code, json.Code, same.Code));
        Assert.Contains("as recorded", table.Output, StringComparison.Ordinal);
        Assert.Contains("new: numbers/alpha is at least 0.2 and roots/gamma is above 0.3", table.Output, StringComparison.Ordinal);
        using var answer = System.Text.Json.JsonDocument.Parse(json.Output);
        var number = answer.RootElement.GetProperty("changed").GetInt64();
        Assert.True(number > 0);
        Assert.Contains($"{number.ToString("N0", System.Globalization.CultureInfo.InvariantCulture)} of ", table.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1, 5)] // from the stream's beginning
    [InlineData(1, 17)] // behind a checkpoint
    [InlineData(7, 17)] // joined at the first checkpoint that is there
    public void Proof_RecordBeforeACheckpoint_IsVerifiedByItsNote(int from, int wanted)
    {
        var stream = Guid.CreateVersion7();
        using var key = NoteKey.Generate(CheckpointText.KeyNameOf(stream, 1));
        var records = Stream(stream, key);
        using var finder = new RecordProofFinder(stream, (ulong)wanted);
        foreach (var (type, bytes) in records.Skip(from - 1))
        {
            finder.Add(type, bytes);
        }

        var proof = finder.Proof;
        Assert.NotNull(proof);
        Assert.Equal(((ulong)wanted - 1, true, from == 1 ? true : null), (proof.Index, proof.IsIncluded, proof.Signed));
        Assert.Equal(TreeHash.OfLeaf(records[wanted - 1].Bytes), proof.Leaf);
    }

    [Fact]
    public void Proof_RecordThatWasChanged_IsNotIncluded()
    {
        var stream = Guid.CreateVersion7();
        using var key = NoteKey.Generate(CheckpointText.KeyNameOf(stream, 1));
        using var finder = new RecordProofFinder(stream, 5);
        foreach (var (type, bytes) in Stream(stream, key))
        {
            finder.Add(type, type == RecordType.Decision && RecordFields.Trailer(bytes) == 5
                ? [.. new byte[] { 0x3A, 1, (byte)'x' }, .. bytes]
                : bytes);
        }

        Assert.NotNull(finder.Proof);
        Assert.False(finder.Proof.IsIncluded);
    }

    // 1 EpochStart, then decisions, with a checkpoint over all before it as every tenth record.
    private static List<(RecordType Type, byte[] Bytes)> Stream(Guid stream, NoteKey key)
    {
        var id = ByteString.CopyFrom(stream.ToByteArray(bigEndian: true));
        var records = new List<(RecordType, byte[])>();
        var tree = new CompactRange(0);
        for (ulong sequence = 1; sequence <= 30; sequence++)
        {
            (RecordType Type, IMessage Message) next;
            if (sequence == 1)
            {
                next = (RecordType.EpochStart, new EpochStart { StreamId = id, Epoch = 1, EpochKey = key.Verifier.Text });
            }
            else if (sequence % 10 == 0)
            {
                var note = SignedNote.Sign(new CheckpointText(stream, tree.End, tree.Root(), 1, 0).ToString(), key).ToString();
                next = (RecordType.Checkpoint, new Checkpoint { StreamId = id, Epoch = 1, TreeSize = tree.End, Note = note, Frontier = ByteString.CopyFrom(tree.ToArray()) });
            }
            else
            {
                next = (RecordType.Decision, new DecisionRecord { StreamId = id, Epoch = 1, RequestId = $"{sequence}" });
            }

            byte[] bytes = [.. next.Message.ToByteArray(), 0x19, .. BitConverter.GetBytes(sequence)];
            records.Add((next.Type, bytes));
            tree.Append(TreeHash.OfLeaf(bytes));
        }

        return records;
    }

    private string Policies()
    {
        var folder = Path.Combine(_folder.FullName, "policies");
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "p.yaml"), AuditBench.Rich);
        return folder;
    }
}
