using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Ledger.Verify;

namespace SafetyFilter.Tests.Ledger;

public sealed class ReceiptFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("safetyfilter-receipts-").FullName;
    private readonly LedgerForge _forge = LedgerForge.Whole(seed: 8);

    public void Dispose()
    {
        _forge.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void Load_EveryWayToWriteAReceipt_IsFoundInTheLedger()
    {
        var record = _forge.Records.First(static record => record.Type == RecordType.Decision);
        var leaf = TreeHash.OfLeaf(record.Bytes);
        var id = Convert.ToBase64String(_forge.StreamId.ToByteArray(bigEndian: true));
        var book = new ReceiptBook();

        Assert.Null(ReceiptFile.Load(
            Write(
                $$"""{"stream":"{{_forge.StreamId:N}}","epoch":1,"sequence":{{record.Sequence}},"leaf_hash":"{{leaf}}"}""",
                $$"""{"streamId":"{{id}}","epoch":1,"sequence":"{{record.Sequence}}","leafHash":"{{leaf.ToBase64()}}","durability":"PROCESS"}""",
                "",
                $$"""{"request_id":"r","receipt":{"stream_id":"{{_forge.StreamId:D}}","epoch":1,"sequence":"{{record.Sequence}}","leaf_hash":"{{leaf.ToBase64()}}"} }"""),
            book));

        using var verifier = LedgerProofTests.Verify(_forge.Records, new VerifierOptions { Receipts = book });
        LedgerProofTests.AssertFindings(verifier);
        Assert.Equal((3L, 3L), (book.Count, book.Matched));
    }

    [Fact]
    public void Verify_ReceiptsThatDiffer_AreNamed()
    {
        var record = _forge.Records.First(static record => record.Type == RecordType.Decision);
        var book = new ReceiptBook();
        book.Add(_forge.StreamId, 1, record.Sequence, TreeHash.EmptyLeaf);
        book.Add(_forge.StreamId, 2, record.Sequence, TreeHash.OfLeaf(record.Bytes));
        book.Add(_forge.StreamId, 9, _forge.Sequence + 1, TreeHash.EmptyLeaf);

        using var verifier = LedgerProofTests.Verify(_forge.Records, new VerifierOptions { Receipts = book });

        Assert.Equal(["differs", "is of epoch 2", "has no record"], verifier.Findings.Select(static finding =>
            new[] { "differs", "is of epoch 2", "has no record" }.Single(word => finding.Text.Contains(word, StringComparison.Ordinal))));
    }

    [Fact]
    public void Verify_ReceiptsOlderThanWhatIsRead_AreOutside()
    {
        using var verifier = LedgerProofTests.Verify(
            _forge.Records.Skip(30), new VerifierOptions { Receipts = TamperTests.Receipts(_forge.Records.Take(30)) });

        LedgerProofTests.AssertFindings(verifier);
    }

    [Theory]
    [InlineData("nonsense")]
    [InlineData("""{"stream":"00","epoch":1,"sequence":2,"leaf_hash":"00"}""")]
    [InlineData("""{"epoch":1,"sequence":2}""")]
    public void Load_ALineThatIsNoReceipt_IsNamedWithItsNumber(string line) =>
        Assert.Contains("line 2", ReceiptFile.Load(Write("", line), new ReceiptBook()), StringComparison.Ordinal);

    [Fact]
    public void Load_NotesOneAfterTheOther_AreAllCheckpoints()
    {
        using var other = LedgerForge.Whole(seed: 9);
        var path = Path.Combine(_folder, "notes");
        File.WriteAllText(path, _forge.LastNote + other.LastNote);
        var known = new KnownCheckpoints();

        Assert.Null(known.Load(path));

        using var verifier = LedgerProofTests.Verify(_forge.Records.Concat(other.Records), new VerifierOptions { Checkpoints = known });
        LedgerProofTests.AssertFindings(verifier);
        Assert.Equal((2, 2), (known.Count, known.Matched));
    }

    [Fact]
    public void AddSpool_AFrameThatSaysAnotherSequenceUnderAValidChecksum_IsAMismatch()
    {
        var path = Path.Combine(_folder, SpoolFolder.SegmentName(1));
        using (var file = File.Create(path))
        {
            var header = new byte[SegmentFormat.FileHeaderLength];
            SegmentFormat.WriteFileHeader(header, new SegmentHeader(_forge.StreamId, 1, 1, 0));
            file.Write(header);
            foreach (var record in _forge.Records)
            {
                WriteFrame(file, record, record.Sequence == 9 ? 10 : record.Sequence);
            }
        }

        using var verifier = new LedgerVerifier();
        Assert.True(verifier.AddSpool(path, out _));

        LedgerProofTests.AssertFindings(verifier, FindingKind.Mismatch);
    }

    private static void WriteFrame(Stream file, ForgedRecord record, ulong sequence)
    {
        var frame = new FrameHeader { Length = (uint)record.Bytes.Length, Epoch = record.Epoch, TypeAndReserved = (uint)record.Type, Sequence = sequence };
        frame.Crc = SegmentFormat.Finish(SegmentFormat.Crc32C(uint.MaxValue, record.Bytes), frame);
        var bytes = new byte[SegmentFormat.FrameLength(record.Bytes.Length)];
        System.Runtime.InteropServices.MemoryMarshal.Write(bytes, frame);
        record.Bytes.CopyTo(bytes, SegmentFormat.FrameHeaderLength);
        file.Write(bytes);
    }

    private string Write(params string[] lines)
    {
        var path = Path.Combine(_folder, "receipts.jsonl");
        File.WriteAllLines(path, lines);
        return path;
    }
}
