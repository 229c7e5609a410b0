using Google.Protobuf;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Tests.Ledger.Proof;

namespace SafetyFilter.Tests.Ledger;

/// <summary>
/// Everything signed in a stream against what its records say, computed the slow way of the RFC: what the writer must never get wrong.
/// </summary>
internal sealed class StreamAudit
{
    private readonly Dictionary<ulong, byte[]> _leaves;
    private readonly List<byte[]> _tree = [];
    private readonly string _identity;

    private StreamAudit(string root, IReadOnlyDictionary<ulong, byte[]>? known)
    {
        _leaves = known is null ? [] : new(known);
        _identity = File.ReadAllText(Path.Combine(root, "identity.pub"));
    }

    public List<Checkpoint> Checkpoints { get; } = [];

    public List<EpochStart> Starts { get; } = [];

    public List<EpochEnd> Ends { get; } = [];

    public List<Gap> Gaps { get; } = [];

    public List<RecordType> Types { get; } = [];

    /// <param name="known">Leaves of records that are not there any more.</param>
    public static StreamAudit Check(LedgerFolder folder, IReadOnlyDictionary<ulong, byte[]>? known = null)
    {
        var audit = new StreamAudit(folder.Path, known);
        var records = Records(folder.Stream);
        foreach (var (sequence, _, bytes) in records)
        {
            audit._leaves[sequence] = Rfc6962.Leaf(bytes);
        }

        foreach (var gap in records.Where(record => record.Type == RecordType.Gap).Select(record => Gap.Parser.ParseFrom(record.Bytes)))
        {
            audit.Gaps.Add(gap);
            for (var lost = gap.First; gap.EmptyLeaves && lost <= gap.Last; lost++)
            {
                audit._leaves[lost] = Rfc6962.Leaf([]);
            }
        }

        for (ulong sequence = 1; sequence <= records[^1].Sequence; sequence++)
        {
            Assert.True(audit._leaves.TryGetValue(sequence, out var leaf), $"nothing is known of {sequence}");
            audit._tree.Add(leaf!);
        }

        foreach (var (sequence, type, bytes) in records)
        {
            audit.Add(sequence, type, bytes);
        }

        return audit;
    }

    /// <summary>The leaves of a folder's records as they are now.</summary>
    public static Dictionary<ulong, byte[]> LeavesOf(LedgerFolder folder) =>
        Records(folder.Stream).ToDictionary(record => record.Sequence, record => Rfc6962.Leaf(record.Bytes));

    private static List<(ulong Sequence, RecordType Type, byte[] Bytes)> Records(string stream)
    {
        var found = new List<(ulong, RecordType, byte[])>();
        using var reader = SpoolReader.OpenStream(stream);
        while (reader.Read() is var read && read != SpoolRead.End)
        {
            if (read == SpoolRead.Record)
            {
                found.Add((reader.Sequence, reader.Type, reader.Payload.ToArray()));
            }
        }

        return found;
    }

    private void Add(ulong sequence, RecordType type, byte[] record)
    {
        Types.Add(type);
        switch (type)
        {
            case RecordType.EpochStart:
                CheckStart(EpochStart.Parser.ParseFrom(record), sequence);
                break;
            case RecordType.EpochEnd:
                var end = EpochEnd.Parser.ParseFrom(record);
                Ends.Add(end);
                Assert.Equal(sequence - 1, CheckNote(end.Note, end.Epoch, end.TimeUnixNanos, end.Decisions));
                Assert.Equal(RootOf(sequence - 1), RootOf(sequence - 1, end.Frontier));
                break;
            case RecordType.Checkpoint:
                CheckCheckpoint(Checkpoint.Parser.ParseFrom(record), sequence);
                break;
        }
    }

    private void CheckStart(EpochStart start, ulong sequence)
    {
        Assert.Equal(RootOf(sequence - 1), Convert.ToHexStringLower(start.PreviousRoot.Span));
        Assert.Equal(RootOf(sequence - 1), RootOf(sequence - 1, start.PreviousFrontier));
        Assert.Equal(_identity, start.Identity + "\n");
        Assert.True(NoteVerifier.TryParse(start.Identity, out var identity));
        Assert.True(SignedNote.TryParse(start.Certificate, out var certificate));
        Assert.True(certificate.IsSignedBy(identity));
        Assert.Equal(
            EpochCertificate.Text(
                StreamOf(start.StreamId), start.Epoch, start.EpochKey, start.BootNonce.Span, sequence - 1, TreeHash.Read(start.PreviousRoot.Span)),
            certificate.Text);
        Starts.Add(start);
    }

    private void CheckCheckpoint(Checkpoint checkpoint, ulong sequence)
    {
        Assert.True(checkpoint.TreeSize < sequence);
        Assert.Equal(checkpoint.TreeSize, CheckNote(checkpoint.Note, checkpoint.Epoch, checkpoint.TimeUnixNanos, null));
        Assert.Equal(RootOf(checkpoint.TreeSize), Convert.ToHexStringLower(checkpoint.RootHash.Span));
        Assert.Equal(RootOf(checkpoint.TreeSize), RootOf(checkpoint.TreeSize, checkpoint.Frontier));

        var before = CompactRange.TryRead(0, checkpoint.PreviousSize, checkpoint.PreviousSize == 0 ? [] : Checkpoints[^1].Frontier.Span);
        var growth = CompactRange.TryRead(checkpoint.PreviousSize, checkpoint.TreeSize, checkpoint.Growth.Span);
        Assert.NotNull(before);
        Assert.NotNull(growth);
        Assert.True(before.TryAppend(growth));
        Assert.Equal(RootOf(checkpoint.TreeSize), before.Root().ToString());
        Assert.True(checkpoint.PreviousSize == 0 || checkpoint.PreviousSize == Checkpoints[^1].TreeSize);

        // Everything that the start admitted is below the first checkpoint of its epoch.
        Assert.True(checkpoint.TreeSize >= Starts[^1].Sequence);
        Checkpoints.Add(checkpoint);
    }

    private ulong CheckNote(string text, uint epoch, ulong time, ulong? decisions)
    {
        var start = Starts[^1];
        Assert.Equal(epoch, start.Epoch);
        Assert.True(NoteVerifier.TryParse(start.EpochKey, out var key));
        Assert.Equal(CheckpointText.KeyNameOf(StreamOf(start.StreamId), epoch), key.Name);
        Assert.True(SignedNote.TryParse(text, out var note));
        Assert.True(note.IsSignedBy(key));
        Assert.True(CheckpointText.TryParse(note.Text, out var said));
        Assert.Equal((StreamOf(start.StreamId), epoch, time, decisions), (said.StreamId, said.Epoch, said.TimeUnixNanos, said.EndDecisions));
        Assert.Equal(RootOf(said.TreeSize), said.Root.ToString());
        return said.TreeSize;
    }

    private string RootOf(ulong size) =>
        Convert.ToHexStringLower(Rfc6962.Root(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_tree)[..(int)size]));

    private static string? RootOf(ulong size, ByteString frontier) => CompactRange.TryRead(0, size, frontier.Span)?.Root().ToString();

    private static Guid StreamOf(ByteString bytes) => new(bytes.Span, bigEndian: true);
}
