using BenchmarkDotNet.Attributes;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Benchmarks.Micro;

/// <summary>The ledger's tree behind the requests: a leaf for each record, a signed checkpoint for each second or thousand records.</summary>
public class CheckpointBenchmarks
{
    private const int Leaves = 100_000;

    private readonly Guid _stream = Guid.NewGuid();
    private CompactRange _growing = null!;
    private CompactRange _signed = null!;
    private NoteKey _key = null!;
    private TreeHash _leaf;

    [GlobalSetup]
    public void SetUp()
    {
        _leaf = TreeHash.OfLeaf("a record"u8);
        _growing = new CompactRange(0);
        for (var i = 0; i < Leaves; i++)
        {
            _growing.Append(_leaf);
        }

        _signed = _growing.Clone();
        _key = NoteKey.Generate(CheckpointText.KeyNameOf(_stream, epoch: 1));
    }

    [GlobalCleanup]
    public void CleanUp() => _key.Dispose();

    [Benchmark]
    public int AppendLeaf()
    {
        _growing.Append(_leaf);
        return (int)_growing.End;
    }

    /// <summary>Root, note, Ed25519 signature and frontier.</summary>
    [Benchmark]
    public int Sign()
    {
        var text = new CheckpointText(_stream, _signed.End, _signed.Root(), 1, 1_700_000_000_000_000_000).ToString();
        return SignedNote.Sign(text, _key).ToString().Length + _signed.ToArray().Length;
    }
}
