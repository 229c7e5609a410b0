using System.Security.Cryptography;
using Google.Protobuf;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Audit;

/// <summary>That a record is in a stream's tree, as the first signed checkpoint after it says.</summary>
/// <param name="Signed">Whether the note is signed by the key that the epoch's own EpochStart names; null when that was not seen.</param>
/// <param name="Identity">The identity that certified this key; null when none did, or it was not seen.</param>
internal sealed record RecordProof(
    ulong Index, ulong TreeSize, TreeHash Leaf, TreeHash Root, IReadOnlyList<TreeHash> Path, string Note, bool IsIncluded, bool? Signed, NoteVerifier? Identity)
{
    /// <summary>Whether the record is in the tree, the note is signed, and its key certified by one of <paramref name="identities"/> (by any, when there are none).</summary>
    public bool IsProven(IReadOnlyList<NoteVerifier> identities) =>
        IsIncluded && Signed == true && Identity is not null && (identities.Count == 0 || identities.Any(one => one.Text == Identity.Text));
}

/// <summary>
/// Follows one stream's tree until a checkpoint covers a wanted record. It holds the tree at the last checkpoint and the leaves after
/// it: a checkpoint is written every second, so they are few. A stream whose beginning is gone is joined at its first checkpoint.
/// </summary>
internal sealed class RecordProofFinder(Guid stream, ulong sequence) : IDisposable
{
    private const ulong MaxPending = 4_000_000;

    private readonly IncrementalHash _sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    // Leaves of the sequences _first, _first + 1, ...; behind the tree when there is one.
    private readonly List<TreeHash> _pending = [];
    private readonly Dictionary<uint, (NoteVerifier Key, NoteVerifier? Identity)> _keys = [];
    private ulong _first;
    private CompactRange? _tree;

    /// <summary>Null as long as no checkpoint covers the record.</summary>
    public RecordProof? Proof { get; private set; }

    /// <summary>The next record of the ledger, of any stream.</summary>
    public void Add(RecordType? type, ReadOnlySpan<byte> record)
    {
        if (Proof is not null || !RecordFields.TryRead(record, out var fields) || fields.StreamId != stream)
        {
            return;
        }

        if (_first == 0)
        {
            _first = fields.Sequence;
            _tree = fields.Sequence == 1 ? new CompactRange(0) : null;
        }

        var next = _first + (ulong)_pending.Count;
        if (fields.Sequence < next)
        {
            return;
        }

        if (fields.Sequence - next > MaxPending - (ulong)_pending.Count)
        {
            // Without a checkpoint for so long there is none to wait for: begin anew behind.
            _pending.Clear();
            (_first, _tree, next) = (fields.Sequence, null, fields.Sequence);
        }

        // A hole counts as empty leaves until a checkpoint says otherwise.
        for (; next < fields.Sequence; next++)
        {
            _pending.Add(TreeHash.EmptyLeaf);
        }

        _pending.Add(TreeHash.OfLeaf(_sha, record));
        See(type, record);
    }

    public void Dispose() => _sha.Dispose();

    private void See(RecordType? type, ReadOnlySpan<byte> record)
    {
        try
        {
            switch (type)
            {
                case RecordType.EpochStart:
                    var start = EpochStart.Parser.ParseFrom(record);
                    if (NoteVerifier.TryParse(start.EpochKey, out var key))
                    {
                        var certified = EpochCertificate.TryRead(start, stream, out var identity, out _, out var certificate)
                            && EpochCertificate.IsGood(start, stream, identity, certificate);
                        _keys[start.Epoch] = (key, certified ? identity : null);
                    }

                    break;
                case RecordType.Checkpoint:
                    var checkpoint = Checkpoint.Parser.ParseFrom(record);
                    Reach(checkpoint.Note, checkpoint.Frontier.Span);
                    break;
                case RecordType.EpochEnd:
                    Reach(EpochEnd.Parser.ParseFrom(record).Note, default);
                    break;
            }
        }
        catch (InvalidProtocolBufferException)
        {
            // Of no use here; audit verify says what is wrong with it.
        }
    }

    private void Reach(string note, ReadOnlySpan<byte> frontier)
    {
        if (!SignedNote.TryParse(note, out var signed) || !CheckpointText.TryParse(signed.Text, out var text) || text.StreamId != stream
            || text.TreeSize < _first - 1 || text.TreeSize - (_first - 1) > (ulong)_pending.Count)
        {
            return;
        }

        var covered = (int)(text.TreeSize - (_first - 1));
        if (_tree is not null && sequence >= _first && sequence <= text.TreeSize)
        {
            Prove(text, signed);
            return;
        }

        if (_tree is not null)
        {
            foreach (var leaf in _pending.Take(covered))
            {
                _tree.Append(leaf);
            }
        }

        // Where the signed tree is another one, such as after damage that an older checkpoint had covered, its frontier stands in.
        if (_tree is null || _tree.Root() != text.Root)
        {
            _tree = CompactRange.TryRead(0, text.TreeSize, frontier) is { } anchor && anchor.Root() == text.Root ? anchor : null;
        }

        if (_tree is not null)
        {
            _pending.RemoveRange(0, covered);
            _first = text.TreeSize + 1;
        }
    }

    private void Prove(CheckpointText text, SignedNote note)
    {
        var before = _tree!.Clone();
        var index = (int)(sequence - _first);
        foreach (var leaf in _pending.Take(index))
        {
            before.Append(leaf);
        }

        var proof = new InclusionProof(before, _pending[index]);
        foreach (var leaf in _pending.Take((int)(text.TreeSize - (_first - 1))).Skip(index + 1))
        {
            proof.Append(leaf);
        }

        var path = proof.Path();
        Proof = new RecordProof(
            proof.Index, text.TreeSize, proof.Leaf, text.Root, path, note.ToString(),
            InclusionProof.Verify(proof.Index, text.TreeSize, proof.Leaf, path, text.Root),
            _keys.TryGetValue(text.Epoch, out var known) ? note.IsSignedBy(known.Key) : null, known.Identity);
    }
}
