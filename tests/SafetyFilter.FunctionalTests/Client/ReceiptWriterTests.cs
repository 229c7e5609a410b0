using Google.Protobuf;
using SafetyFilter.Cli;
using SafetyFilter.Client;
using SafetyFilter.Ledger.Verify;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Client;

public sealed class ReceiptWriterTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-receipts-");

    private string File => Path.Combine(_folder.FullName, "receipts.jsonl");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task SampleRanker_RealSidecar_RanksAndItsReceiptIsFoundInTheLedger()
    {
        await using var sidecar = await SidecarProcess.StartAsync();
        var videos = new[] { new SampleRanker.Video("video:1", "Ten quiet walks in the Alps", 0.5f), new SampleRanker.Video("video:2", "A bicycle tyre", 0.9f) };
        using (var receipts = new ReceiptWriter(File))
        {
            var ranked = await SampleRanker.RankAsync("unix:" + sidecar.UnixSocket, videos, receipts);

            Assert.Equal(["video:2", "video:1"], ranked.Select(video => video.Id));
        }

        Assert.Equal(0, await sidecar.StopAsync());
        var output = new StringWriter();
        var code = AuditCommand.Create().Parse(["verify", "--receipts", File, "--", sidecar.Spool]).Invoke(new() { Output = output, Error = output });
        Assert.True(code == 0, output.ToString());
        Assert.Contains("1 receipts: 1 found, 0 not", output.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Add_LongestNumbers_IsReadBackAndAppendedToOnTheNextRun()
    {
        for (var run = 0; run < 2; run++)
        {
            using var receipts = new ReceiptWriter(File);
            Assert.True(receipts.Add(Answer(new Receipt
            {
                StreamId = ByteString.CopyFrom(Guid.CreateVersion7().ToByteArray(bigEndian: true)),
                Epoch = uint.MaxValue,
                Sequence = ulong.MaxValue,
                LeafHash = ByteString.CopyFrom(Enumerable.Repeat((byte)0xAB, 32).ToArray()),
            })));
        }

        var book = new ReceiptBook();
        Assert.Null(ReceiptFile.Load(File, book));
        Assert.Equal(2, book.Count);
    }

    [Fact]
    public void Add_AnswerWithoutARecord_IsLeftOut()
    {
        using var stream = new MemoryStream();
        using var receipts = new ReceiptWriter(stream);

        Assert.False(receipts.Add(Answer(null)));
        Assert.False(receipts.Add(Answer(new Receipt { Epoch = 1, Durability = V1.Durability.Lost })));
        Assert.Equal(0, stream.Length);
    }

    private static FilterResult Answer(Receipt? receipt) => new(new FilterResponse { Receipt = receipt });
}
