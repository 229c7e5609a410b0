using System.Diagnostics;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger;

/// <summary>
/// Writes of which the kernel takes only the beginning. Records are stored into mappings whose blocks are reserved, so what can be cut short are the
/// small files that are replaced (all by one method), copies of torn tails, and a segment that is written again after its fdatasync failed.
/// </summary>
public sealed class ShortWriteTests : IDisposable
{
    private const string FileTooLarge = "too large";
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    private readonly LedgerFolder _folder = new();

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Open_SmallFilesAreCutShort_RefusesAndTheOldOnesStand()
    {
        _folder.Open().Dispose();
        new PublishCursor(3, "a topic with a long name", 0).Write(_folder.Stream);

        var said = await RunAsync(SpoolChild.WriteShort);

        Assert.Contains("spool.json' cannot be made durable", said["start"], StringComparison.Ordinal);
        Assert.Contains(FileTooLarge, said["start"], StringComparison.OrdinalIgnoreCase);
        Assert.Contains(FileTooLarge, said["cursor"], StringComparison.OrdinalIgnoreCase);
        Assert.Contains(FileTooLarge, said["gaps"], StringComparison.OrdinalIgnoreCase);
        Assert.EndsWith(", 0 known", said["gaps"], StringComparison.Ordinal);

        // It was short, and not refused as a whole.
        Assert.Equal((long)ShortWrites.Limit, new FileInfo(Path.Combine(_folder.Stream, "cursor.json.tmp")).Length);
        Assert.Equal(3UL, PublishCursor.Read(_folder.Stream)?.PublishedThrough);
        Assert.Empty(GapBook.Read(_folder.Stream).NotAdmitted);

        // The epoch that did not begin used up no number.
        Assert.Equal("epoch 2", said["then"]);
        AssertVerifies();
    }

    [Fact]
    public async Task Open_TheFirstTimeAndKeyAndNamesAreCutShort_RefusesAndBeginsLater()
    {
        var said = await RunAsync(SpoolChild.WriteShort);

        Assert.Contains("identity.key", said["start"], StringComparison.Ordinal);
        Assert.Contains(FileTooLarge, said["start"], StringComparison.OrdinalIgnoreCase);
        Assert.Equal("epoch 1", said["then"]);
        AssertVerifies();
    }

    [Fact]
    public async Task Open_TheCopyOfATornTailIsCutShort_RefusesAndTheTailStays()
    {
        using (var spool = _folder.Open())
        {
            LedgerFolder.Append(spool, "a", length: 100);
            LedgerFolder.Append(spool, "b", length: 100);
        }

        // The last record loses its length, which a kill in the middle of a copy leaves out.
        var last = _folder.ReadAll()[^1];
        var bytes = await File.ReadAllBytesAsync(last.Segment, Cancelled);
        bytes.AsSpan((int)last.Offset, sizeof(int)).Clear();
        await File.WriteAllBytesAsync(last.Segment, bytes, Cancelled);

        var said = await RunAsync(SpoolChild.WriteShort);

        Assert.Contains($"Bytes of '{last.Segment}' cannot be kept as", said["start"], StringComparison.Ordinal);
        Assert.Contains(FileTooLarge, said["start"], StringComparison.OrdinalIgnoreCase);

        // Only the start that could keep them cut them off.
        Assert.Equal("epoch 2", said["then"]);
        var kept = Assert.Single(Directory.GetFiles(Path.Combine(_folder.Stream, "quarantine")));
        Assert.EndsWith(".torn", kept, StringComparison.Ordinal);
        var copy = await File.ReadAllBytesAsync(kept, Cancelled);
        Assert.InRange(copy.Length, (int)ShortWrites.Limit + 1, bytes.Length);
        Assert.Equal(bytes[(int)last.Offset..((int)last.Offset + copy.Length)], copy);
        AssertVerifies();
    }

    [Fact]
    public async Task Open_ASegmentThatTheDiskDidNotConfirmIsRewrittenShort_RefusesAndTheSegmentStays()
    {
        using (var spool = _folder.Open())
        {
            LedgerFolder.Append(spool, "a", length: 100);
        }

        var segment = Assert.Single(_folder.Segments);
        var bytes = await File.ReadAllBytesAsync(segment, Cancelled);
        await File.WriteAllTextAsync(segment + SpoolFolder.DoubtExtension, "", Cancelled);

        var said = await RunAsync(SpoolChild.WriteShort);

        Assert.Contains($"'{segment}.rewrite'", said["start"], StringComparison.Ordinal);
        Assert.Contains(FileTooLarge, said["start"], StringComparison.OrdinalIgnoreCase);
        Assert.Equal("epoch 2", said["then"]);
        Assert.Equal(bytes, await File.ReadAllBytesAsync(segment, Cancelled));
        AssertVerifies();
    }

    [Fact]
    public async Task Append_TheSegmentsRewritingIsCutShort_PromisesNothingUntilItIsWhole()
    {
        const string Strace = "/usr/bin/strace";
        Assert.SkipUnless(File.Exists(Strace), "strace is not installed (apt-get install strace).");
        var said = await RunAsync(
            SpoolChild.RewriteShort,
            Strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=3");

        Assert.StartsWith($"True|{ShortWrites.RewriteLimit}|", said["limited"], StringComparison.Ordinal);
        Assert.Contains(FileTooLarge, said["limited"], StringComparison.OrdinalIgnoreCase);
        Assert.Equal("True|0|", said["then"]);
        AssertVerifies();
        Assert.All(_folder.ReadAll(), static record => Assert.Null(record.Damage));
    }

    private void AssertVerifies()
    {
        using var verifier = _folder.Verify();
        Assert.True(verifier.IsVerified, LedgerFolder.Describe(verifier));
    }

    private async Task<Dictionary<string, string>> RunAsync(string mode, params string[] wrapper)
    {
        using var child = Process.Start(SpoolChild.StartInfo(mode, _folder.Path, wrapper))!;
        try
        {
            var said = await child.StandardOutput.ReadToEndAsync(Cancelled).WaitAsync(Patience, Cancelled);
            await child.WaitForExitAsync(Cancelled);
            Assert.True(child.ExitCode == 0, said);
            return said.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static line => line.Split(": ", 2)).ToDictionary(
                static parts => parts[0], static parts => parts[1], StringComparer.Ordinal);
        }
        finally
        {
            if (!child.HasExited)
            {
                child.Kill(entireProcessTree: true);
            }
        }
    }
}
