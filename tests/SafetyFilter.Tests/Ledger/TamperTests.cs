using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Ledger.Verify;
using static SafetyFilter.Tests.Ledger.LedgerProofTests;

namespace SafetyFilter.Tests.Ledger;

/// <summary>Nobody without the keys changes a signed ledger unseen; what the ledger alone cannot show, receipts and witnesses do.</summary>
public sealed class TamperTests : IDisposable
{
    private readonly LedgerForge _forge = LedgerForge.Whole(seed: 42);

    public void Dispose() => _forge.Dispose();

    [Theory]
    [InlineData(nameof(Tamper.FlipABit), FindingKind.Tree, FindingKind.Gap, FindingKind.Mismatch, FindingKind.Malformed, FindingKind.Checkpoint, FindingKind.Signature, FindingKind.EpochChain)]
    [InlineData(nameof(Tamper.FlipABitInANote), FindingKind.Checkpoint, FindingKind.Signature)]
    [InlineData(nameof(Tamper.DeleteARecord), FindingKind.Gap)]
    [InlineData(nameof(Tamper.DeleteARecordAndRenumber), FindingKind.Tree, FindingKind.Checkpoint, FindingKind.EpochChain)]
    [InlineData(nameof(Tamper.InsertARecordAndRenumber), FindingKind.Tree, FindingKind.Checkpoint)]
    [InlineData(nameof(Tamper.SwapTwoRecords), FindingKind.OutOfOrder)]
    [InlineData(nameof(Tamper.SwapTwoContents), FindingKind.Tree, FindingKind.EpochChain)]
    [InlineData(nameof(Tamper.CutBeforeTheLastCheckpoint), FindingKind.Gap)]
    [InlineData(nameof(Tamper.ReplayAnEpoch), FindingKind.EpochChain)]
    [InlineData(nameof(Tamper.ForkTheTail), FindingKind.Conflict)]
    [InlineData(nameof(Tamper.SignWithAnOldKey), FindingKind.Signature)]
    [InlineData(nameof(Tamper.SignWithAFreshKey), FindingKind.Signature)]
    [InlineData(nameof(Tamper.SpliceInAnotherStream), FindingKind.Tree, FindingKind.Signature, FindingKind.Fork)]
    [InlineData(nameof(Tamper.ChangeARootWithItsFrontier), FindingKind.Checkpoint)]
    [InlineData(nameof(Tamper.ChangeARootWithFrontierAndNote), FindingKind.Signature)]
    [InlineData(nameof(Tamper.DropAnEpochAndRenumber), FindingKind.EpochChain)]
    [InlineData(nameof(Tamper.HideRecordsBehindAGap), FindingKind.Tree, FindingKind.Gap)]
    [InlineData(nameof(Tamper.UnderstateALoss), FindingKind.Tree)]
    [InlineData(nameof(Tamper.RemoveAWithdrawal), FindingKind.Tree, FindingKind.Checkpoint)]
    [InlineData(nameof(Tamper.RelabelAWithdrawal), FindingKind.Mismatch, FindingKind.Malformed, FindingKind.Checkpoint, FindingKind.EpochChain, FindingKind.Loss)]
    [InlineData(nameof(Tamper.ChangeATime), FindingKind.Tree)]
    [InlineData(nameof(Tamper.RepeatWithOtherBytes), FindingKind.Conflict)]
    [InlineData(nameof(Tamper.StartACopyOfTheVolume), FindingKind.ClonedVolume)]
    [InlineData(nameof(Tamper.StripALaterEpochsSignatures), FindingKind.Signature)]
    [InlineData(nameof(Tamper.ShowAnOlderCheckpointAgain), FindingKind.Fork)]
    internal void Verify_ATamperedLedger_IsFoundAsWhatItIs(string tamper, params FindingKind[] oneOf)
    {
        for (var seed = 0; seed < 20; seed++)
        {
            using var verifier = Verify(Tamper.All[tamper](_forge, new Random(seed)));

            Assert.True(
                verifier.Findings.Any(finding => oneOf.Contains(finding.Kind)), $"{tamper}, seed {seed}:\n{LedgerFolder.Describe(verifier)}");
        }
    }

    /// <summary>Two thousand random cases over all classes, victims and ledgers.</summary>
    [Fact]
    public void Verify_AnyTamperingAnywhere_IsFound()
    {
        var forges = Enumerable.Range(0, 10).Select(static seed => LedgerForge.Whole(seed, epochs: 2, size: 30)).ToList();
        try
        {
            var classes = Tamper.All.ToList();
            for (var seed = 0; seed < 2000; seed++)
            {
                var random = new Random(seed);
                var (name, tamper) = classes[seed % classes.Count];
                using var verifier = Verify(tamper(forges[random.Next(forges.Count)], random));
                Assert.False(verifier.IsVerified, $"{name}, seed {seed} was not found");
            }
        }
        finally
        {
            forges.ForEach(static forge => forge.Dispose());
        }
    }

    [Fact]
    public void Verify_ATailCutOffBehindACheckpoint_IsSeenByReceiptsAndWitnessesOnly()
    {
        using var alone = Verify(CutTail());
        AssertFindings(alone);

        using var receipts = Verify(CutTail(), new VerifierOptions { Receipts = Receipts(_forge.Records) });
        AssertFindings(receipts, FindingKind.Receipt);

        var known = new KnownCheckpoints();
        known.Add(Witnessed(_forge), "witness");
        using var witness = Verify(CutTail(), new VerifierOptions { Checkpoints = known });
        AssertFindings(witness, FindingKind.SplitView);
        return;

        IEnumerable<ForgedRecord> CutTail()
        {
            var second = _forge.Records.Where(static record => record.Type == RecordType.Checkpoint).Skip(1).First();
            return _forge.Records.TakeWhile(record => record.Sequence <= second.Sequence + 1);
        }
    }

    [Fact]
    public void Verify_ALedgerRewrittenUnderAnotherIdentity_IsSeenByPinReceiptsAndWitnesses()
    {
        using var rewritten = LedgerForge.Whole(seed: 43, stream: _forge.StreamId);
        using var alone = Verify(rewritten.Records);
        AssertFindings(alone);
        Assert.Contains(alone.Notes, static note => note.Contains("pin it with --identity", StringComparison.Ordinal));

        using var pinned = Verify(rewritten.Records, new VerifierOptions { Identities = [_forge.Identity.Verifier] });
        AssertFindings(pinned, FindingKind.Identity);
        Assert.Equal(0UL, pinned.Streams.Single().SignedThrough);

        using var receipts = Verify(rewritten.Records, new VerifierOptions { Receipts = Receipts(_forge.Records.Take(40)) });
        AssertFindings(receipts, FindingKind.Receipt);

        var known = new KnownCheckpoints();
        known.Add(Witnessed(_forge), "witness");
        using var witness = Verify(rewritten.Records, new VerifierOptions { Checkpoints = known });
        AssertFindings(witness, FindingKind.SplitView);
    }

    [Fact]
    public void Verify_AnotherTailSignedByTheSameKey_IsSeenByAWitness()
    {
        using var forge = new LedgerForge();
        forge.Start();
        forge.Decide(20);
        forge.Checkpoint();
        var kept = forge.Records.Count;
        forge.Decide(5);
        forge.Checkpoint();
        var first = Witnessed(forge);

        // The writer, who has the key, tells another story from here on.
        var told = forge.Retell(kept);
        told(8);

        var known = new KnownCheckpoints();
        known.Add(first, "witness");
        using var verifier = Verify(forge.Records, new VerifierOptions { Checkpoints = known });
        AssertFindings(verifier, FindingKind.SplitView);
    }

    [Fact]
    public void Verify_AGapForgedBehindTheLastCheckpoint_AdmitsNothing()
    {
        using var forge = new LedgerForge();
        forge.Start();
        forge.Decide(20);
        forge.Checkpoint();
        forge.Decide(3);
        var records = forge.Records.Where(static record => record.Sequence is < 5 or > 9).ToList();
        records.Add(new ForgedRecord(RecordType.Gap, 1, forge.Sequence + 1, LedgerForge.Trailed(new Lineage.V1.Gap
        {
            StreamId = Google.Protobuf.ByteString.CopyFrom(forge.StreamId.ToByteArray(bigEndian: true)),
            Epoch = 1,
            Sequence = forge.Sequence + 1,
            First = 5,
            Last = 9,
        })));

        using var verifier = Verify(records);

        AssertFindings(verifier, FindingKind.Gap);
    }

    [Fact]
    public void Verify_AllSignaturesStripped_IsFoundWithAPinAndNotedWithout()
    {
        var stripped = _forge.Records.Select(static record => record.Type == RecordType.EpochStart ? Strip(record) : record).ToList();

        using var alone = Verify(stripped);
        Assert.Contains(alone.Notes, static note => note.Contains("not signed", StringComparison.Ordinal));

        using var pinned = Verify(stripped, new VerifierOptions { Identities = [_forge.Identity.Verifier] });
        Assert.Contains(pinned.Findings, static finding => finding.Kind == FindingKind.Signature);
        return;

        static ForgedRecord Strip(ForgedRecord record)
        {
            var start = record.Read(Lineage.V1.EpochStart.Parser);
            start.Identity = start.EpochKey = start.Certificate = "";
            return record.With(start);
        }
    }

    internal static ReceiptBook Receipts(IEnumerable<ForgedRecord> records)
    {
        var book = new ReceiptBook();
        foreach (var record in records.Where(static record => record.Type == RecordType.Decision))
        {
            Assert.True(RecordFields.TryRead(record.Bytes, out var fields));
            book.Add(fields.StreamId, record.Epoch, record.Sequence, TreeHash.OfLeaf(record.Bytes));
        }

        return book;
    }

    internal static CheckpointText Witnessed(LedgerForge forge)
    {
        Assert.True(SignedNote.TryParse(forge.LastNote, out var note));
        Assert.True(CheckpointText.TryParse(note.Text, out var text));
        return text;
    }
}
