using System.Runtime.InteropServices;
using CsCheck;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger;

public sealed class InFlightWindowTests
{
    [Fact]
    public void Acknowledge_InAnyOrder_MovesOnlyWithoutAHole() =>
        Gen.Shuffle(Enumerable.Range(11, 20).ToArray()).Sample(order =>
        {
            var window = new InFlightWindow(32, 1 << 20, acknowledgedThrough: 10);
            foreach (var sequence in order.Order())
            {
                Assert.True(window.TryAdd((ulong)sequence, 100, (ulong)sequence));
            }

            var seen = new HashSet<int>();
            foreach (var sequence in order)
            {
                seen.Add(sequence);
                window.Acknowledge((ulong)sequence);
                var expected = 10;
                while (seen.Contains(expected + 1))
                {
                    expected++;
                }

                Assert.Equal((ulong)expected, window.AcknowledgedThrough);
                Assert.Equal(expected == 30 ? 0UL : (ulong)expected + 1, window.OldestTimeUnixNanos);
            }
        });

    [Fact]
    public void Acknowledge_ARecordForTwoTopics_TakesTheWordOfBoth()
    {
        var window = new InFlightWindow(8, 1 << 20, acknowledgedThrough: 0);
        Assert.True(window.TryAdd(1, 100, 1, acknowledgements: 2));
        Assert.True(window.TryAdd(2, 100, 1));

        window.Acknowledge(1);
        window.Acknowledge(2);
        Assert.Equal((0UL, 2), (window.AcknowledgedThrough, window.Count));

        window.Acknowledge(1);
        Assert.Equal((2UL, 0), (window.AcknowledgedThrough, window.Count));
    }

    [Fact]
    public void TryAdd_PastRecordsOrBytes_HasNoRoomUntilAcknowledged()
    {
        var window = new InFlightWindow(2, 1000, acknowledgedThrough: 0);
        Assert.True(window.TryAdd(1, 5000, 1));
        Assert.False(window.TryAdd(2, 1, 1));
        window.Acknowledge(1);
        Assert.True(window.TryAdd(2, 400, 1));
        Assert.True(window.TryAdd(3, 400, 1));
        Assert.False(window.TryAdd(4, 1, 1));
        window.Acknowledge(3);
        Assert.False(window.TryAdd(4, 1, 1));
        window.Acknowledge(2);
        Assert.Equal((3UL, 0), (window.AcknowledgedThrough, window.Count));
    }
}

public sealed class PublishCursorTests
{
    [Fact]
    public void Read_WhatWasWritten_IsTheSame()
    {
        using var folder = new LedgerFolder();
        foreach (var cursor in new[] { new PublishCursor(ulong.MaxValue >> 8, "a \"topic\"", 7), new PublishCursor(1, "t", 7, "u", 8) })
        {
            Assert.Equal(0, cursor.Write(folder.Path));

            Assert.Equal(cursor, PublishCursor.Read(folder.Path));
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("""{"published_through":-1,"topic":"t","partition":0}""")]
    public void Read_ADamagedFile_IsNothingAndSoPublishesAgain(string content)
    {
        using var folder = new LedgerFolder();
        File.WriteAllText(Path.Combine(folder.Path, "cursor.json"), content);

        Assert.Null(PublishCursor.Read(folder.Path));
    }
}

public sealed class LedgerOptionsValidatorTests
{
    [Fact]
    public void Validate_Defaults_AreValidWithAndWithoutKafka()
    {
        Assert.Empty(LedgerOptionsValidator.Validate(new LedgerOptions()));
        Assert.Empty(LedgerOptionsValidator.Validate(new LedgerOptions { Kafka = { BootstrapServers = "localhost:9092" } }));
    }

    [Fact]
    public void Validate_ManyMistakes_NamesAllOfThemWithRemedies()
    {
        var errors = LedgerOptionsValidator.Validate(new LedgerOptions
        {
            Spool = { Folder = "", SegmentBytes = 5000, SyncInterval = TimeSpan.FromHours(1), AppendPatience = TimeSpan.FromSeconds(-1), DiskPatience = TimeSpan.FromSeconds(11), MemoryBacklogBytes = -1, MaxBytes = 12_000, WarnFreeBytes = -1 },
            Signing = { CheckpointInterval = TimeSpan.Zero, CheckpointRecords = 0, HeartbeatInterval = TimeSpan.FromHours(1) },
            Kafka = { BootstrapServers = "k:1", CheckpointTopic = "safetyfilter.decisions", Compression = "zip", Producer = { ["acks"] = "1", ["dotnet.producer.block.if.queue.full"] = "no" } },
        });

        Assert.Equal(15, errors.Count);
        Assert.Contains(errors, error => error.StartsWith("Ledger:Spool:DiskPatience is '00:00:11'. Use 0 (never wait for the disk) to 10 s.", StringComparison.Ordinal));
        Assert.Contains(errors, error => error.StartsWith("Ledger:Spool:MaxBytes is '12000'. Use at least three times", StringComparison.Ordinal));
        Assert.Contains(errors, error => error.StartsWith("Ledger:Spool:SegmentBytes is '5000'. Use a multiple of 4096", StringComparison.Ordinal));
        Assert.Contains(errors, error => error.StartsWith("Ledger:Kafka:Producer:acks is '1'. Remove it", StringComparison.Ordinal));
    }
}

public sealed class SpoolOptionsTests
{
    [Theory]
    [InlineData(0, false, 16 << 20)]
    [InlineData(0, true, 990_000)]
    [InlineData(2_000_000, true, 2_000_000)]
    [InlineData(1024, false, 1024)]
    public void RecordLimit_AnExplicitValue_WinsOverWhatSuitsKafka(int setting, bool publishes, int expected) =>
        Assert.Equal(expected, new SpoolOptions { MaxRecordBytes = setting }.RecordLimit(publishes));
}

public sealed class SegmentFormatTests
{
    [Fact]
    public void Crc32C_TheStandardCheckValue_IsRight() =>
        Assert.Equal(0xE3069283U, ~SegmentFormat.Crc32C(uint.MaxValue, "123456789"u8));

    [Fact]
    public void FileHeader_AnyValues_AreReadBackAndAnyChangedByteIsSeen() =>
        Gen.Select(Gen.Guid, Gen.UInt, Gen.ULong, Gen.Int[0, 63], Gen.Byte[1, 255]).Sample((stream, epoch, first, at, flip) =>
        {
            var bytes = new byte[SegmentFormat.FileHeaderLength];
            var header = new SegmentHeader(stream, epoch, first, 5);
            SegmentFormat.WriteFileHeader(bytes, header);
            Assert.True(SegmentFormat.TryReadFileHeader(bytes, out var read));
            Assert.Equal(header, read);
            bytes[at] ^= flip;
            Assert.False(SegmentFormat.TryReadFileHeader(bytes, out _));
        });

    [Fact]
    public void TryReadFrame_AnyChangedByteOfARealFrame_IsSeen() =>
        Gen.Select(Gen.Byte.Array[9, 200], Gen.Double.Unit, Gen.Byte[1, 255]).Sample((payload, where, flip) =>
        {
            var header = new FrameHeader { Length = (uint)payload.Length, Epoch = 3, TypeAndReserved = 1, Sequence = 7 };
            header.Crc = SegmentFormat.Finish(SegmentFormat.Crc32C(uint.MaxValue, payload), header);
            byte[] bytes = [.. MemoryMarshal.AsBytes(new ReadOnlySpan<FrameHeader>(in header)), .. payload];
            Assert.Equal(FrameState.Valid, SegmentFormat.TryReadFrame(bytes, out var read));
            Assert.Equal(header, read);

            bytes[(int)(where * (bytes.Length - 1))] ^= flip;

            Assert.NotEqual(FrameState.Valid, SegmentFormat.TryReadFrame(bytes, out _));
        });
}

public sealed class SegmentTests : IDisposable
{
    private readonly LedgerFolder _folder = new();
    private readonly string _path;
    private readonly Segment _segment;

    public SegmentTests()
    {
        _path = Path.Combine(_folder.Path, SpoolFolder.SegmentName(1));
        _segment = Segment.TryCreate(_path, 64 << 10, out _)!;
        _segment.Begin_NeedsLock(new SegmentHeader(Guid.CreateVersion7(), 1, 1, 1));
        for (ulong sequence = 1; sequence <= 20; sequence++)
        {
            byte[] body = [1, 2, 3];
            var frame = new FrameHeader { Length = (uint)body.Length + SegmentFormat.TrailerLength, Epoch = 1, TypeAndReserved = 1, Sequence = sequence };
            unsafe
            {
                _segment.Write_NeedsLock(ref frame, SegmentFormat.Crc32C(uint.MaxValue, body), body);
            }
        }
    }

    public void Dispose()
    {
        _segment.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void Rewrite_OfWholeRecords_ReplacesTheFile()
    {
        Assert.Null(_segment.Rewrite());
        Assert.Equal([_path], Directory.GetFiles(_folder.Path));
        Assert.Equal(_segment.Used, new FileInfo(_path).Length);
    }

    [Theory]
    [InlineData(20)] // the header
    [InlineData(64)] // a length
    [InlineData(300)]
    public void Rewrite_OfBytesThatTheKernelLost_FailsAndKeepsTheFile(int offset)
    {
        using (var file = File.OpenHandle(_path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
        {
            RandomAccess.Write(file, new byte[40], offset);
        }

        Assert.NotNull(_segment.Rewrite());
        Assert.Equal([_path], Directory.GetFiles(_folder.Path));
        Assert.Equal(64 << 10, new FileInfo(_path).Length);
    }
}

public sealed class GapBookTests : IDisposable
{
    private readonly LedgerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Note_WhatIsKnownInPart_NotesTheRest()
    {
        var book = GapBook.Read(_folder.Path);
        Assert.Equal([(10UL, 20UL)], Places(book.Note(Lost(10, 20))));
        Assert.Equal([(30UL, 30UL)], Places(book.Note(Lost(30, 30))));

        Assert.Equal([(5UL, 9UL), (21UL, 29UL), (31UL, 40UL)], Places(book.Note(Lost(5, 40))));
        Assert.Empty(book.Note(Lost(5, 40)));
    }

    [Fact]
    public void Read_WhatWasNoted_IsTheSame()
    {
        var book = GapBook.Read(_folder.Path);
        var admitted = Assert.Single(book.Note(Lost(1, 2)));
        var open = Assert.Single(book.Note(Lost(7, 9)));
        book.MarkAdmitted(admitted);

        var read = GapBook.Read(_folder.Path);

        Assert.Equal([open], read.NotAdmitted);
        Assert.Empty(read.Note(Lost(1, 2)));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("[{\"first\":-1}]")]
    public void Read_ADamagedFile_KnowsOfNothing(string content)
    {
        File.WriteAllText(Path.Combine(_folder.Path, "gaps.json"), content);

        Assert.Empty(GapBook.Read(_folder.Path).NotAdmitted);
    }

    private static LostRange Lost(ulong first, ulong last) =>
        new(first, last, SafetyFilter.Lineage.V1.Gap.Types.Cause.Damage, "file", EmptyLeaves: true);

    private static IEnumerable<(ulong First, ulong Last)> Places(List<LostRange> ranges) => ranges.Select(range => (range.First, range.Last));
}
