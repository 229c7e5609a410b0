using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using SafetyFilter.Decisions;

namespace SafetyFilter.Audit;

/// <summary>
/// The bytes of a DecisionRecord (lineage.proto) as the columns that policies and models read, without an object per candidate.
/// Pooled: reading another record keeps the arrays. Not thread-safe.
/// </summary>
/// <remarks>All slices point into <see cref="CandidateBatch.Buffer"/> of <see cref="Batch"/>, which holds a copy of the record.</remarks>
internal sealed class RecordedDecision
{
    private static readonly byte[] LanguageName = "language"u8.ToArray();

    private byte[] _own = [];

    public CandidateBatch Batch { get; } = new();

    public ScoreTable Scores { get; } = new();

    /// <summary>The record's length, without what was unsealed.</summary>
    public int Length { get; private set; }

    public int Count => (int)CandidateCount;

    public ByteSlice StreamId;
    public uint Epoch;
    public ulong Sequence;
    public ulong TimeUnixNanos;
    public ByteSlice TraceId;
    public ByteSlice SpanId;
    public ByteSlice Caller;
    public ByteSlice Policy;
    public ByteSlice PolicyRevision;
    public ByteSlice ConfigRevision;
    public ByteSlice Build;
    public uint CandidateCount;

    /// <summary>16 bytes per candidate; empty when masked.</summary>
    public ByteSlice InputDigests;

    public uint BudgetMicros;
    public uint EngineMicros;
    public ulong LostSinceLast;
    public ByteSlice HashKeyId;
    public RecordedSeal Seal;

    /// <summary>Whether the record has the features that its classifiers read; they are in <see cref="Batch"/>.</summary>
    public bool HasInputs;

    public List<RecordedBundle> Bundles { get; } = [];
    public List<RecordedClassifier> Classifiers { get; } = [];
    public List<RecordedRule> Rules { get; } = [];
    public List<RecordedDegradation> Degradations { get; } = [];
    public List<RecordedShadow> Shadows { get; } = [];
    public List<ByteSlice> Masked { get; } = [];
    public List<ByteSlice> Hashed { get; } = [];

    /// <summary>Paths that are sealed, or were until <see cref="IsUnsealed"/>.</summary>
    public List<ByteSlice> SealedPaths { get; } = [];

    public bool IsUnsealed { get; private set; }

    public List<CandidateAction> Actions { get; } = [];

    /// <summary>Index into <see cref="Rules"/> per candidate.</summary>
    public List<uint> RuleIndexes { get; } = [];

    public List<Basis> Bases { get; } = [];

    public List<float> Margins { get; } = [];

    /// <summary>Classifier-major.</summary>
    public List<float> ScoreCells { get; } = [];

    /// <summary>Candidate numbers that degradations and shadows name.</summary>
    public List<uint> Indexes { get; } = [];

    public ReadOnlySpan<byte> this[ByteSlice slice] => slice.In(Batch.Buffer);

    public string Text(ByteSlice slice) => slice.ToString(Batch.Buffer);

    public Guid Stream => new(this[StreamId], bigEndian: true);

    public DateTimeOffset Time => DateTimeOffset.UnixEpoch.AddTicks((long)(TimeUnixNanos / TimeSpan.NanosecondsPerTick));

    /// <summary>When the policy took the decision: rules expire by it.</summary>
    public long UnixMilliseconds => (long)(TimeUnixNanos / 1_000_000);

    /// <summary>Copies and reads a record. Null when it could be read; otherwise what is wrong with it.</summary>
    /// <param name="open">Opens sealed fields; null leaves them closed.</param>
    public string? TryRead(ReadOnlySpan<byte> record, SealOpener? open = null)
    {
        Reset();
        Hold(record, 0);
        Length = record.Length;
        var error = RecordedDecisionReader.Read(this, 0, Length);
        if (error is null && open is not null && !Seal.Ciphertext.IsEmpty)
        {
            error = Unseal(open);
        }

        return error ?? Complete();
    }

    /// <summary>
    /// Lets the policy find the languages where it looks for them: the record keeps them as its first attribute, because only a
    /// policy says whether it reads languages or an attribute of that name.
    /// </summary>
    public void UseLanguages()
    {
        if (Batch.Languages.Count == 0 && Batch.FindAttribute(LanguageName) is { Kind: AttributeKind.Strings } column)
        {
            foreach (var slice in column.Strings.Slices)
            {
                Batch.Languages.Add(slice);
            }

            column.Name = default;
        }
    }

    /// <summary>Whether the record lacks what stood at this path (see RecordPaths) for good or for those without the key.</summary>
    public bool Withholds(ReadOnlySpan<byte> path) => Names(Masked, path) || (!IsUnsealed && Names(SealedPaths, path));

    /// <summary>Whether a candidate's scores by this bundle are remembered from an earlier run of it.</summary>
    public bool IsRemembered(in RecordedBundle bundle, int candidate) =>
        !bundle.Remembered.IsEmpty && (this[bundle.Remembered][candidate >> 3] >> (candidate & 7) & 1) != 0;

    public ReadOnlySpan<uint> CandidatesOf(in RecordedDegradation degradation) =>
        CollectionsMarshal.AsSpan(Indexes).Slice(degradation.Candidates.Start, degradation.Candidates.Length);

    public ReadOnlySpan<uint> CandidatesOf(in RecordedShadow shadow) =>
        CollectionsMarshal.AsSpan(Indexes).Slice(shadow.Candidates.Start, shadow.Candidates.Length);

    public bool Names(List<ByteSlice> paths, ReadOnlySpan<byte> path)
    {
        foreach (var one in CollectionsMarshal.AsSpan(paths))
        {
            if (this[one].SequenceEqual(path))
            {
                return true;
            }
        }

        return false;
    }

    private void Reset()
    {
        Batch.Reset();
        (StreamId, Epoch, Sequence, TimeUnixNanos) = (default, 0, 0, 0);
        TraceId = SpanId = Caller = Policy = PolicyRevision = ConfigRevision = Build = InputDigests = HashKeyId = default;
        (CandidateCount, BudgetMicros, EngineMicros, LostSinceLast) = (0, 0, 0, 0);
        Seal = default;
        HasInputs = IsUnsealed = false;
        Bundles.Clear();
        Classifiers.Clear();
        Rules.Clear();
        Degradations.Clear();
        Shadows.Clear();
        Masked.Clear();
        Hashed.Clear();
        SealedPaths.Clear();
        Actions.Clear();
        RuleIndexes.Clear();
        Bases.Clear();
        Margins.Clear();
        ScoreCells.Clear();
        Indexes.Clear();
    }

    private void Hold(ReadOnlySpan<byte> bytes, int at)
    {
        if (_own.Length < at + bytes.Length)
        {
            Array.Resize(ref _own, Math.Max(at + bytes.Length, _own.Length * 2));
        }

        bytes.CopyTo(_own.AsSpan(at));
        Batch.Buffer = _own;
    }

    // Two messages one after the other are their merge: what was sealed is read as if it stood at the record's end.
    private string? Unseal(SealOpener open)
    {
        Span<byte> associated = stackalloc byte[28];
        this[StreamId].CopyTo(associated);
        BinaryPrimitives.WriteUInt32LittleEndian(associated[16..], Epoch);
        BinaryPrimitives.WriteUInt64LittleEndian(associated[20..], TimeUnixNanos);
        if (open(this[Seal.KeyId], this[Seal.Nonce], this[Seal.Ciphertext], associated) is not { } opened)
        {
            return null;
        }

        Hold(opened, Length);
        IsUnsealed = true;
        return RecordedDecisionReader.Read(this, Length, Length + opened.Length);
    }

    private string? Complete()
    {
        if (StreamId.Length != 16 || Epoch == 0 || Sequence == 0)
        {
            return "it lacks stream_id, epoch or sequence";
        }

        var count = Actions.Count;
        if (CandidateCount != count || Bases.Count != count || RuleIndexes.Count != count || Margins.Count != count)
        {
            return $"candidate_count is {CandidateCount}, but there are {count} actions, {RuleIndexes.Count} rule indexes, {Bases.Count} bases and {Margins.Count} margins";
        }

        if (ScoreCells.Count != (long)Classifiers.Count * count)
        {
            return $"there are {ScoreCells.Count} scores for {Classifiers.Count} classifiers x {count} candidates";
        }

        if (Batch.ContentVersions.Count is not 0 and var versions && versions != count)
        {
            return $"there are {versions} content versions for {count} candidates";
        }

        if (!InputDigests.IsEmpty && InputDigests.Length != count * 16)
        {
            return $"input_digests has {InputDigests.Length} bytes for {count} candidates";
        }

        // Masked ids leave a column of nothing: everything else still has its place.
        while (Batch.Ids.Count == 0 ? count > 0 : Batch.Ids.Count < count && this[Batch.Ids[0]].IsEmpty)
        {
            Batch.Ids.Add(default);
        }

        if (Batch.Ids.Count != count)
        {
            return $"there are {Batch.Ids.Count} candidate ids for {count} candidates";
        }

        return CheckIndexes() ?? CheckRemembered() ?? CheckParts() ?? CheckInputs() ?? FillScores();
    }

    private string? CheckIndexes()
    {
        foreach (var rule in CollectionsMarshal.AsSpan(RuleIndexes))
        {
            if (rule >= (uint)Rules.Count)
            {
                return $"rule_indexes names entry {rule} of {Rules.Count} rules";
            }
        }

        foreach (var index in CollectionsMarshal.AsSpan(Indexes))
        {
            if (index >= CandidateCount)
            {
                return $"a degradation or shadow names candidate {index} of {CandidateCount}";
            }
        }

        foreach (ref readonly var degradation in CollectionsMarshal.AsSpan(Degradations))
        {
            if ((uint)degradation.Classifier >= (uint)Classifiers.Count)
            {
                return $"a degradation names classifier {degradation.Classifier} of {Classifiers.Count}";
            }
        }

        foreach (ref readonly var classifier in CollectionsMarshal.AsSpan(Classifiers))
        {
            if ((uint)classifier.Bundle >= (uint)Bundles.Count)
            {
                return $"classifier '{Text(classifier.Name)}' names bundle {classifier.Bundle} of {Bundles.Count}";
            }
        }

        return null;
    }

    private string? CheckRemembered()
    {
        foreach (ref readonly var bundle in CollectionsMarshal.AsSpan(Bundles))
        {
            if (!bundle.Remembered.IsEmpty && bundle.Remembered.Length != (Count + 7) / 8)
            {
                return $"bundle '{Text(bundle.Name)}' has {bundle.Remembered.Length} bytes of remembered candidates for {Count} candidates";
            }

            if (!bundle.Remembered.IsEmpty && (Count & 7) is not 0 and var used && this[bundle.Remembered][^1] >> used != 0)
            {
                return $"bundle '{Text(bundle.Name)}' remembers candidates past the last of {Count}: its last byte is 0x{this[bundle.Remembered][^1]:X2}";
            }
        }

        return null;
    }

    private string? CheckParts()
    {
        foreach (ref readonly var bundle in CollectionsMarshal.AsSpan(Bundles))
        {
            var run = Count;
            foreach (var bits in this[bundle.Remembered])
            {
                run -= BitOperations.PopCount(bits);
            }

            if (bundle.Parts > run)
            {
                return $"bundle '{Text(bundle.Name)}' ran in {bundle.Parts} parts over {run} candidates";
            }
        }

        return null;
    }

    private string? CheckInputs()
    {
        foreach (var text in CollectionsMarshal.AsSpan(Batch.Texts))
        {
            if (text.Values.Count != Count || !AreBelow(text.Missing, Count))
            {
                return $"the captured text '{Text(text.Name)}' does not fit {Count} candidates";
            }
        }

        foreach (var tensor in CollectionsMarshal.AsSpan(Batch.Tensors))
        {
            var bytes = tensor.DataType switch { DataType.Float32 => 4, DataType.Float16 => 2, _ => 0 };
            if (bytes == 0 || tensor.Rows != Count || tensor.Data.Length != (long)Count * tensor.RowLength * bytes || !AreBelow(tensor.Missing, Count))
            {
                return $"the captured tensor '{Text(tensor.Name)}' does not fit {Count} candidates";
            }
        }

        return null;
    }

    private static bool AreBelow(List<int> indexes, int count)
    {
        foreach (var index in CollectionsMarshal.AsSpan(indexes))
        {
            if ((uint)index >= (uint)count)
            {
                return false;
            }
        }

        return true;
    }

    private string? FillScores()
    {
        Scores.Reset(Classifiers.Count, Count);
        var cells = CollectionsMarshal.AsSpan(ScoreCells);
        for (var classifier = 0; classifier < Classifiers.Count; classifier++)
        {
            cells.Slice(classifier * Count, Count).CopyTo(Scores.Row(classifier));
        }

        foreach (ref readonly var degradation in CollectionsMarshal.AsSpan(Degradations))
        {
            var candidates = CandidatesOf(degradation);
            if (candidates.IsEmpty)
            {
                for (var candidate = 0; candidate < Count; candidate++)
                {
                    Scores.Mark(degradation.Classifier, candidate, degradation.Failure);
                }
            }

            foreach (var candidate in candidates)
            {
                Scores.Mark(degradation.Classifier, (int)candidate, degradation.Failure);
            }
        }

        return null;
    }
}
