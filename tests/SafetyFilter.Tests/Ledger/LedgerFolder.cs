using System.Globalization;
using System.Text;
using Google.Protobuf;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Tests.Ledger;

/// <summary>A temporary spool folder and what tests do with it.</summary>
internal sealed class LedgerFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("safetyfilter-ledger-").FullName;

    public string Stream => SpoolFolder.Streams(Path).Single();

    public List<string> Segments => [.. SpoolFolder.Segments(Stream).Select(segment => segment.Path)];

    /// <summary>Small segments that roll often, and an append that rather waits than fails.</summary>
    public SpoolOptions Options(long segmentBytes = 64 << 10, int maxRecord = 16 << 10) => new()
    {
        Folder = Path,
        SegmentBytes = segmentBytes,
        MaxRecordBytes = maxRecord,
        SyncInterval = TimeSpan.FromMilliseconds(5),
        AppendPatience = TimeSpan.FromSeconds(10),
        DiskPatience = TimeSpan.FromSeconds(10),
    };

    /// <summary>No checkpoints while a test runs: most tests count their records.</summary>
    public static SigningOptions Silent => new()
    {
        CheckpointInterval = TimeSpan.FromDays(1),
        CheckpointRecords = int.MaxValue,
        HeartbeatInterval = TimeSpan.FromDays(1),
    };

    public Spool Open(SpoolOptions? options = null, SigningOptions? signing = null, TimeProvider? time = null) =>
        Spool.Open(options ?? Options(), "test", time ?? TimeProvider.System, signing: signing ?? Silent);

    /// <summary>A decision of about the given length, as the encoder makes it: everything but the sequence.</summary>
    public static byte[] Body(Spool spool, string requestId, int length = 0) => new DecisionRecord
    {
        StreamId = ByteString.CopyFrom(spool.StreamId.ToByteArray(bigEndian: true)),
        Epoch = spool.Epoch,
        TimeUnixNanos = 1_700_000_000_000_000_000,
        RequestId = requestId,
        Surface = new string('s', length),
        CandidateCount = 1,
    }.ToByteArray();

    public static ulong Append(Spool spool, string requestId, int length = 0)
    {
        var result = spool.Append(RecordType.Decision, Body(spool, requestId, length), out var receipt);
        Assert.Equal(AppendResult.Appended, result);
        return receipt.Sequence;
    }

    /// <summary>Appends until there is no room, not even for a Loss record.</summary>
    public static void Fill(Spool spool)
    {
        var refuse = new RecordTerms { RefuseWhenLate = true };
        foreach (var body in new[] { Body(spool, "full", length: 1000), Body(spool, "") })
        {
            Assert.True(SpinWait.SpinUntil(
                () => spool.Append(RecordType.Decision, body, refuse, 1, out _) == AppendResult.Unavailable, TimeSpan.FromSeconds(20)));
        }
    }

    /// <summary>The Loss records of a stream, also while it is written.</summary>
    public static List<Loss> Losses(string stream)
    {
        var found = new List<Loss>();
        using var reader = SpoolReader.OpenStream(stream, follow: true);
        while (reader.Read() == SpoolRead.Record)
        {
            if (reader.Type == RecordType.Loss)
            {
                found.Add(Loss.Parser.ParseFrom(reader.Payload));
            }
        }

        return found;
    }

    /// <summary>The folder as a kill at this moment would leave it: what was stored into the mappings is in the files.</summary>
    public LedgerFolder CopyAsKilled()
    {
        var copy = new LedgerFolder();
        foreach (var file in Directory.EnumerateFiles(Path, "*", SearchOption.AllDirectories))
        {
            if (System.IO.Path.GetFileName(file) == "lock")
            {
                continue;
            }

            var target = System.IO.Path.Combine(copy.Path, System.IO.Path.GetRelativePath(Path, file));
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }

        return copy;
    }

    public List<Read> ReadAll()
    {
        var found = new List<Read>();
        using var reader = SpoolReader.OpenStream(Stream);
        while (reader.Read() is var read && read != SpoolRead.End)
        {
            found.Add(read == SpoolRead.Damage
                ? new Read(0, 0, default, "", reader.Damage, reader.SegmentPath, 0)
                : new Read(reader.Sequence, reader.Epoch, reader.Type, RequestOf(reader), null, reader.SegmentPath, reader.Offset));
        }

        return found;
    }

    /// <summary>Changes one byte of the payload of a record.</summary>
    public void Damage(ulong sequence)
    {
        using var reader = SpoolReader.OpenStream(Stream, from: sequence, follow: true);
        Assert.Equal((SpoolRead.Record, sequence), (reader.Read(), reader.Sequence));
        using var file = File.OpenHandle(reader.SegmentPath, FileMode.Open, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete);
        RandomAccess.Write(file, [(byte)~reader.Payload[3]], reader.Offset + SegmentFormat.FrameHeaderLength + 3);
    }

    public LedgerVerifier Verify()
    {
        var verifier = new LedgerVerifier();
        Assert.True(verifier.AddSpool(Path, out var error), error);
        return verifier;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);

    public static string Describe(LedgerVerifier verifier) =>
        verifier.Findings.Aggregate(new StringBuilder(), (text, finding) => text.AppendLine(CultureInfo.InvariantCulture, $"{finding}")).ToString();

    private static string RequestOf(SpoolReader reader) =>
        reader.Type == RecordType.Decision ? DecisionRecord.Parser.ParseFrom(reader.Payload).RequestId : "";

    internal sealed record Read(
        ulong Sequence, uint Epoch, RecordType Type, string RequestId, SpoolDamage? Damage, string Segment, long Offset);
}
