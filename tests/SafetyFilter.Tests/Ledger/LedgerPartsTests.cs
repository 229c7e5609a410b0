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
        var cursor = new PublishCursor(ulong.MaxValue >> 8, "a \"topic\"", 7);

        Assert.Equal(0, cursor.Write(folder.Path));

        Assert.Equal(cursor, PublishCursor.Read(folder.Path));
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
            Spool = { Folder = "", SegmentBytes = 5000, SyncInterval = TimeSpan.FromHours(1), AppendPatience = TimeSpan.FromSeconds(-1) },
            Kafka = { BootstrapServers = "k:1", Compression = "zip", Producer = { ["acks"] = "1" } },
        });

        Assert.Equal(6, errors.Count);
        Assert.Contains(errors, error => error.StartsWith("Ledger:Spool:SegmentBytes is '5000'. Use a multiple of 4096", StringComparison.Ordinal));
        Assert.Contains(errors, error => error.StartsWith("Ledger:Kafka:Producer:acks is '1'. Remove it", StringComparison.Ordinal));
    }
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
    public void TryReadFrame_AnyBytes_IsNeverValidByAccident() =>
        Gen.Byte.Array[0, 200].Sample(bytes => Assert.NotEqual(FrameState.Valid, SegmentFormat.TryReadFrame(bytes, out _)));
}
