using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Ledger.Verify;

namespace SafetyFilter.Tests.Ledger;

public sealed class WitnessTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("safetyfilter-witness-").FullName;
    private readonly NoteKey _key = NoteKey.Generate("witness.example/1", NoteSignatureType.Cosignature);
    private readonly LedgerForge _forge = new();

    public WitnessTests()
    {
        _forge.Start();
        _forge.Decide(20);
        _forge.Checkpoint();
        _forge.Decide(5);
        _forge.Checkpoint();
    }

    public void Dispose()
    {
        _forge.Dispose();
        _key.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void Take_CheckpointsThatGrow_AreCosignedAndFoundInTheLedger()
    {
        Assert.Empty(Run(_forge.Records));
        _forge.Decide(7);
        _forge.Checkpoint();
        Assert.Empty(Run(_forge.Records.Where(OfCheckpointTopic)));

        var notes = Directory.GetFiles(_folder, "*.note", SearchOption.AllDirectories);
        Assert.Equal(2, notes.Length);
        Assert.True(SignedNote.TryParse(File.ReadAllText(notes.Order(StringComparer.Ordinal).Last()), out var note));
        Assert.True(note.IsSignedBy(_key.Verifier) && note.IsSignedBy(_forge.EpochKey.Verifier));
        var known = new KnownCheckpoints();
        Assert.Null(known.Load(_folder));
        using var verifier = LedgerProofTests.Verify(_forge.Records, new VerifierOptions { Checkpoints = known });
        LedgerProofTests.AssertFindings(verifier);
        Assert.Equal(2, known.Matched);
    }

    [Fact]
    public void Take_AnotherTailOfTheSameKey_IsRefusedAndKeptAsEvidence()
    {
        var kept = _forge.Records.FindIndex(static record => record.Type == RecordType.Checkpoint) + 1;
        Assert.Empty(Run(_forge.Records));

        _forge.Retell(kept)(5);

        Assert.Contains("forked", Assert.Single(Run(_forge.Records)), StringComparison.Ordinal);
        Assert.Single(Directory.GetFiles(_folder, "*.refused", SearchOption.AllDirectories));
        Assert.Single(Directory.GetFiles(_folder, "*.note", SearchOption.AllDirectories));
    }

    [Fact]
    public void FinishPass_ALedgerWithoutItsEnd_IsARollback()
    {
        Assert.Empty(Run(_forge.Records));

        var cut = _forge.Records.TakeWhile(record => record.Sequence < _forge.Sequence - 3);

        Assert.Contains("rolled back", Assert.Single(Run(cut)), StringComparison.Ordinal);
    }

    [Fact]
    public void Take_AMissedCheckpoint_IsShownByTheRecordsOrRefused()
    {
        Assert.Empty(Run(_forge.Records));
        var seen = _forge.Sequence;
        _forge.Decide(4);
        _forge.Checkpoint();
        _forge.Decide(4);
        _forge.Checkpoint();
        var missed = _forge.Records.First(record => record.Type == RecordType.Checkpoint && record.Sequence > seen);

        var refusal = Assert.Single(Run(_forge.Records.Where(OfCheckpointTopic).Where(record => record != missed)));
        Assert.Contains("read the checkpoints between", refusal, StringComparison.Ordinal);

        // With the leaves between, nobody has to be believed: the witness sees that record without knowing what it is.
        Assert.Empty(Run(_forge.Records.Select(record => record == missed ? record with { Type = RecordType.Activation } : record)));
    }

    [Fact]
    public void Take_AnotherIdentity_IsRefused()
    {
        Assert.Empty(Run(_forge.Records));
        using var other = LedgerForge.Whole(seed: 3, stream: _forge.StreamId);

        Assert.Contains("none of the pinned", Assert.Single(Run(other.Records)), StringComparison.Ordinal);
    }

    [Fact]
    public void Take_CheckpointsWithoutTheStartOfTheirEpoch_NeedTheKey()
    {
        Assert.Contains("key of epoch 1 is not known", Assert.Single(Run(_forge.Records.Skip(1))), StringComparison.Ordinal);
        Assert.Empty(Run(_forge.Records));

        _forge.Decide(3);
        _forge.Checkpoint();
        Assert.Empty(Run(_forge.Records.Skip(10)));
    }

    [Fact]
    public void Take_BytesThatAreNoCheckpoint_AreRefused()
    {
        var broken = _forge.Records[^1] with { Bytes = [.. _forge.Records[^1].Bytes, 0x3A, 0x05] };

        Assert.Empty(Run(_forge.Records.SkipLast(1).Append(broken).Take(1)));
        Assert.NotEmpty(Run(_forge.Records.SkipLast(1).Append(_forge.Records[^1] with { Bytes = [.. _forge.Records[^1].Bytes, 0x3A, 0x01, 0xFF] })));
    }

    private static bool OfCheckpointTopic(ForgedRecord record) => record.Type is RecordType.EpochStart or RecordType.Checkpoint or RecordType.EpochEnd;

    private List<string> Run(IEnumerable<ForgedRecord> records)
    {
        var refusals = new List<string>();
        var witness = new Witness(_folder, _key, [], TimeProvider.System) { OnRefusal = refusals.Add };
        foreach (var record in records)
        {
            witness.Take("forged", 0, record.Type, record.Bytes);
        }

        witness.FinishPass();
        witness.Cosign();
        return refusals;
    }
}
