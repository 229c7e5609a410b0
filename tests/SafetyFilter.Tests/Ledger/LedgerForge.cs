using System.Buffers.Binary;
using Google.Protobuf;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Tests.Ledger;

/// <summary>
/// Writes well-formed, signed streams without a spool: records with checkpoints, epochs, gaps, losses and withdrawals. Its trees come from
/// <see cref="NaiveTree"/>, which shares no code with the verifier's.
/// </summary>
internal sealed class LedgerForge : IDisposable
{
    private readonly NaiveTree _tree = new();
    private readonly ByteString _id;
    private NoteKey? _epochKey;
    private ulong _time = 1_700_000_000_000_000_000;
    private ulong _checkpointed;
    private bool _ended;

    public LedgerForge(NoteKey? identity = null, Guid? stream = null)
    {
        StreamId = stream ?? Guid.CreateVersion7();
        _id = ByteString.CopyFrom(StreamId.ToByteArray(bigEndian: true));
        Identity = identity ?? NoteKey.Generate(EpochCertificate.IdentityName);
    }

    public Guid StreamId { get; }

    public NoteKey Identity { get; }

    /// <summary>The key of the running epoch.</summary>
    public NoteKey EpochKey => _epochKey!;

    public uint Epoch { get; private set; }

    public ulong Sequence { get; private set; }

    public ulong Decisions { get; private set; }

    public ulong LostTotal { get; private set; }

    public List<ForgedRecord> Records { get; } = [];

    /// <summary>The text of the newest checkpoint's note.</summary>
    public string LastNote { get; private set; } = "";

    /// <summary>The leaf of a record in here.</summary>
    public TreeHash LeafOf(ulong sequence) => _tree.Leaf((int)sequence - 1);

    public TreeHash RootAt(ulong size) => _tree.Root((int)size);

    public void Start(uint? epoch = null)
    {
        var previous = Epoch;
        Epoch = epoch ?? Epoch + 1;
        Decisions = 0;
        _epochKey?.Dispose();
        _epochKey = NoteKey.Generate(CheckpointText.KeyNameOf(StreamId, Epoch));
        var nonce = Guid.NewGuid().ToByteArray();
        var root = _tree.Root((int)Sequence);
        Add(RecordType.EpochStart, new EpochStart
        {
            StreamId = _id,
            Epoch = Epoch,
            Sequence = Sequence + 1,
            TimeUnixNanos = Tick(),
            PreviousEpoch = previous,
            PreviousSequence = Sequence,
            PreviousEndedCleanly = _ended,
            BootNonce = ByteString.CopyFrom(nonce),
            PreviousRoot = ByteString.CopyFrom(root),
            PreviousFrontier = ByteString.CopyFrom(_tree.Range(0, (int)Sequence)),
            Identity = Identity.Verifier.Text,
            EpochKey = _epochKey.Verifier.Text,
            Certificate = SignedNote.Sign(EpochCertificate.Text(StreamId, Epoch, _epochKey.Verifier.Text, nonce, Sequence, root), Identity).ToString(),
            LostTotal = LostTotal,
        });
        _ended = false;
    }

    public void Decide(int count = 1)
    {
        for (var index = 0; index < count; index++)
        {
            Decisions++;
            Add(RecordType.Decision, new DecisionRecord
            {
                StreamId = _id,
                Epoch = Epoch,
                Sequence = Sequence + 1,
                TimeUnixNanos = Tick(),
                RequestId = $"r{Sequence + 1}",
                Surface = "search",
                CandidateCount = 2,
            });
        }
    }

    public void Pause(TimeSpan pause) => _time += (ulong)pause.TotalNanoseconds;

    /// <summary>A checkpoint over all but the newest so many records.</summary>
    public void Checkpoint(ulong behind = 0)
    {
        var size = Sequence - behind;
        var root = _tree.Root((int)size);
        var time = Tick();
        LastNote = SignedNote.Sign(new CheckpointText(StreamId, size, root, Epoch, time).ToString(), _epochKey!).ToString();
        Add(RecordType.Checkpoint, new Checkpoint
        {
            StreamId = _id,
            Epoch = Epoch,
            Sequence = Sequence + 1,
            TimeUnixNanos = time,
            TreeSize = size,
            RootHash = ByteString.CopyFrom(root),
            Note = LastNote,
            Frontier = ByteString.CopyFrom(_tree.Range(0, (int)size)),
            PreviousSize = _checkpointed,
            Growth = ByteString.CopyFrom(_tree.Range((int)_checkpointed, (int)size)),
            Decisions = Decisions,
            LostTotal = LostTotal,
        });
        _checkpointed = size;
    }

    public void End()
    {
        var time = Tick();
        var text = new CheckpointText(StreamId, Sequence, _tree.Root((int)Sequence), Epoch, time, Decisions).ToString();
        Add(RecordType.EpochEnd, new EpochEnd
        {
            StreamId = _id,
            Epoch = Epoch,
            Sequence = Sequence + 1,
            TimeUnixNanos = time,
            Decisions = Decisions,
            Note = SignedNote.Sign(text, _epochKey!).ToString(),
        });
        _ended = true;
    }

    public void Lose(ulong decisions)
    {
        LostTotal += decisions;
        Add(RecordType.Loss, new Loss
        {
            StreamId = _id,
            Epoch = Epoch,
            Sequence = Sequence + 1,
            TimeUnixNanos = Tick(),
            Decisions = decisions,
            Candidates = decisions * 2,
            TotalDecisions = LostTotal,
        });
    }

    public void Withdraw(ulong sequence) => Add(RecordType.Withdrawal, new Withdrawal
    {
        StreamId = _id,
        Epoch = Epoch,
        Sequence = Sequence + 1,
        TimeUnixNanos = Tick(),
        WithdrawnSequence = sequence,
    });

    public void Admit(ulong first, ulong last, bool emptyLeaves) => Add(RecordType.Gap, new Gap
    {
        StreamId = _id,
        Epoch = Epoch,
        Sequence = Sequence + 1,
        TimeUnixNanos = Tick(),
        First = first,
        Last = last,
        Cause = Gap.Types.Cause.Damage,
        EmptyLeaves = emptyLeaves,
    });

    /// <summary>Numbers that were given and whose records nobody can read: recovery counts them as empty leaves.</summary>
    public void LoseBeforeStart(int count)
    {
        for (var index = 0; index < count; index++)
        {
            Sequence++;
            _tree.Add(TreeHash.EmptyLeaf);
        }
    }

    /// <summary>Leaves the records out, as a damaged segment does. They stay in the tree.</summary>
    public void Damage(ulong first, ulong last) => Records.RemoveAll(record => record.Sequence >= first && record.Sequence <= last);

    /// <summary>A stream of several epochs with everything that may stand in one; ends cleanly.</summary>
    public static LedgerForge Whole(int seed, NoteKey? identity = null, int epochs = 3, int size = 60, Guid? stream = null)
    {
        var random = new Random(seed);
        var forge = new LedgerForge(identity, stream);
        for (var epoch = 0; epoch < epochs; epoch++)
        {
            forge.Start();
            forge.Checkpoint();
            forge.Decide(2);
            forge.Lose((ulong)random.Next(1, 5));
            forge.Withdraw(forge.Sequence - 1);
            for (var last = forge.Sequence + (ulong)random.Next(size / 2, size); forge.Sequence < last;)
            {
                switch (random.Next(40))
                {
                    case 0:
                        forge.Lose((ulong)random.Next(1, 5));
                        break;
                    case 1:
                        forge.Withdraw(forge.Sequence);
                        break;
                    case < 6:
                        forge.Checkpoint((ulong)random.Next((int)Math.Min(3, forge.Sequence - forge._checkpointed + 1)));
                        break;
                    default:
                        forge.Decide();
                        break;
                }
            }

            forge.End();
        }

        return forge;
    }

    /// <summary>Forgets the records behind so many, and tells others instead, with the same key.</summary>
    public Action<int> Retell(int kept)
    {
        Records.RemoveRange(kept, Records.Count - kept);
        _tree.Cut(kept);
        Sequence = (ulong)kept;
        Decisions = (ulong)Records.Count(static record => record.Type == RecordType.Decision);
        _checkpointed = Records.Last(static record => record.Type == RecordType.Checkpoint).Read(Lineage.V1.Checkpoint.Parser).TreeSize;
        _time += 1_000_000_000;
        return decisions =>
        {
            Decide(decisions);
            Checkpoint();
        };
    }

    public void Dispose()
    {
        _epochKey?.Dispose();
        Identity.Dispose();
    }

    /// <summary>Appends a record as it is; the message has its sequence.</summary>
    public void Add(RecordType type, IMessage message)
    {
        var bytes = Trailed(message);
        Sequence++;
        _tree.Add(TreeHash.OfLeaf(bytes));
        Records.Add(new ForgedRecord(type, Epoch, Sequence, bytes));
    }

    /// <summary>The bytes of a record with field 3 at its end, as the spool makes them.</summary>
    public static byte[] Trailed(IMessage message)
    {
        var field = message.Descriptor.FindFieldByNumber(3).Accessor;
        var sequence = (ulong)field.GetValue(message);
        field.Clear(message);
        var bytes = new byte[message.CalculateSize() + SegmentFormat.TrailerLength];
        message.WriteTo(bytes.AsSpan(0, bytes.Length - SegmentFormat.TrailerLength));
        field.SetValue(message, sequence);
        bytes[^SegmentFormat.TrailerLength] = SegmentFormat.TrailerTag;
        BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(bytes.Length - sizeof(ulong)), sequence);
        return bytes;
    }

    private ulong Tick() => _time += 1_000_000;
}

/// <summary>One record of a forged stream; tests change its bytes.</summary>
internal sealed record ForgedRecord(RecordType Type, uint Epoch, ulong Sequence, byte[] Bytes)
{
    public T Read<T>(MessageParser<T> parser)
        where T : IMessage<T> => parser.ParseFrom(Bytes);

    public ForgedRecord With(IMessage message) => this with { Bytes = LedgerForge.Trailed(message) };
}

/// <summary>RFC 6962 by its own words: recursion over all leaves, with the roots of whole subtrees remembered.</summary>
internal sealed class NaiveTree
{
    private readonly List<TreeHash> _leaves = [];
    private readonly Dictionary<(int, int), TreeHash> _whole = [];

    public void Add(TreeHash leaf) => _leaves.Add(leaf);

    public TreeHash Leaf(int index) => _leaves[index];

    public void Cut(int size)
    {
        _leaves.RemoveRange(size, _leaves.Count - size);
        _whole.Clear();
    }

    public TreeHash Root(int size) => size == 0 ? TreeHash.EmptyRoot : Hash(0, size);

    /// <summary>The roots of the perfect subtrees from left to right.</summary>
    public byte[] Range(int begin, int end)
    {
        var bytes = new List<byte>();
        while (begin < end)
        {
            var size = 1;
            while (begin % (size * 2) == 0 && begin + size * 2 <= end)
            {
                size *= 2;
            }

            var hash = Hash(begin, begin + size);
            bytes.AddRange((ReadOnlySpan<byte>)hash);
            begin += size;
        }

        return [.. bytes];
    }

    private TreeHash Hash(int begin, int end)
    {
        if (end - begin == 1)
        {
            return _leaves[begin];
        }

        if (_whole.TryGetValue((begin, end), out var known))
        {
            return known;
        }

        var split = 1;
        while (split * 2 < end - begin)
        {
            split *= 2;
        }

        var hash = TreeHash.OfNode(Hash(begin, begin + split), Hash(begin + split, end));
        if (split * 2 == end - begin)
        {
            _whole.Add((begin, end), hash);
        }

        return hash;
    }
}
