using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using SafetyFilter.Decisions;

namespace SafetyFilter.Scoring;

/// <summary>
/// Everything one call needs, kept for the next: native buffers, the OrtValues over them, and the binding that names them.
/// Values are made anew only when the batch's shape differs from the last one's. Used by one thread at a time.
/// </summary>
internal sealed class RunScratch : IDisposable
{
    private readonly FeatureInput[] _inputs;
    private readonly (BoundTensor Tensor, int Width)[] _outputs;
    private readonly RowStates _rows = new();
    private readonly RunCutoff _cutoff = new();
    private RunWatchdog? _watchdog;
    private int _watched = -1;

    public RunScratch(InferenceSession session, BundleManifest manifest)
    {
        Binding = session.CreateIoBinding();
        _inputs = [.. manifest.Features.Select(FeatureInput.Create)];
        _outputs = [.. manifest.Outputs.Select(output => (Output(session, output), output.Labels.Length))];
    }

    public OrtIoBinding Binding { get; }

    public RunOptions Options => _cutoff.Options;

    /// <summary>Whether the run was cut since <see cref="Watch"/>.</summary>
    public bool IsCut => _cutoff.IsCut;

    /// <summary>False while a run is under way and after one that failed: its values may be in any state.</summary>
    public bool IsSound { get; set; } = true;

    /// <summary>Candidates of the filled batch that have all features.</summary>
    public int Usable => _rows.Usable;

    /// <summary>Whether ONNX Runtime refused to write an output because it does not have the shape we bound.</summary>
    /// <remarks>
    /// The message is all that tells it from other failures. Should it change, a wrong shape shows as an error: still a
    /// failure, never a score. Letting ONNX Runtime allocate outputs would tell without guessing, for an allocation per call.
    /// </remarks>
    public static bool IsWrongOutputShape(OnnxRuntimeException error) =>
        error.Message.Contains("computed output shape", StringComparison.Ordinal);

    /// <summary>Fills the inputs with a batch that no feature's spec refuses.</summary>
    /// <param name="batch">At least one candidate.</param>
    /// <param name="picked">The candidates to score, ascending; empty: all.</param>
    public void Fill(CandidateBatch batch, ReadOnlySpan<int> picked)
    {
        _rows.Reset(batch.Count, picked);
        foreach (var input in _inputs)
        {
            input.Fill(batch, _rows, Binding);
        }

        foreach (var (tensor, width) in _outputs)
        {
            tensor.Shape(Binding, _rows.Count, width);
        }
    }

    /// <summary>From now on the run is cut when it overruns, until <see cref="EndWatch"/>.</summary>
    /// <param name="deadline">A timestamp of <see cref="System.Diagnostics.Stopwatch"/>.</param>
    public void Watch(RunWatchdog watchdog, long deadline)
    {
        _watchdog = watchdog;
        _watched = watchdog.Watch(_cutoff, deadline);
    }

    /// <summary>Ends the watch, if there is one, and makes the scratch fit for another run. Returns whether this one was cut.</summary>
    public bool EndWatch()
    {
        if (_watched < 0)
        {
            return false;
        }

        _watchdog!.Release(_watched);
        _watched = -1;
        if (!_cutoff.IsCut)
        {
            return false;
        }

        _cutoff.Reset();
        return true;
    }

    /// <summary>Copies scores into the wanted rows and marks what is no score. Returns how many outputs were invalid.</summary>
    public int Read(ScoreTable table, ReadOnlySpan<int> slots)
    {
        var invalid = 0;
        var classifier = 0;
        foreach (var (tensor, width) in _outputs)
        {
            var scores = tensor.Data<float>();
            for (var column = 0; column < width; column++)
            {
                var slot = slots[classifier++];
                if (slot >= 0)
                {
                    invalid += ReadColumn(scores, column, width, table, slot);
                }
            }
        }

        return invalid;
    }

    public void Dispose()
    {
        Binding.Dispose();
        _cutoff.Dispose();
        foreach (var input in _inputs)
        {
            input.Dispose();
        }

        foreach (var (tensor, _) in _outputs)
        {
            tensor.Dispose();
        }
    }

    private static BoundTensor Output(InferenceSession session, OutputSpec output)
    {
        var rank = session.OutputMetadata[output.Name].Dimensions.Length;
        return new BoundTensor(output.Name, TensorElementType.Float, rank, isOutput: true);
    }

    private int ReadColumn(ReadOnlySpan<float> scores, int column, int width, ScoreTable table, int slot)
    {
        var own = table.Row(slot);
        var valid = true;
        for (int row = 0, at = column; row < _rows.Count; row++, at += width)
        {
            var score = scores[at];
            own[_rows.CandidateOf(row)] = score;
            valid &= IsScore(score);
        }

        return valid && !_rows.AnyFailed ? 0 : MarkFailures(own, table, slot);
    }

    private int MarkFailures(ReadOnlySpan<float> own, ScoreTable table, int slot)
    {
        var invalid = 0;
        for (var row = 0; row < _rows.Count; row++)
        {
            var candidate = _rows.CandidateOf(row);
            if (_rows[row] is not FailureKind.None and var failure)
            {
                table.Fail(slot, candidate, failure);
            }
            else if (!IsScore(own[candidate]))
            {
                table.Fail(slot, candidate, FailureKind.InvalidOutput);
                invalid++;
            }
        }

        return invalid;
    }

    // NaN fails both comparisons.
    private static bool IsScore(float score) => score >= 0 && score <= 1;
}

/// <summary>The rows of a run: which candidate each one is, and which lack a usable feature. The first reason found stays.</summary>
internal sealed class RowStates
{
    private FailureKind[] _failures = [];

    // Of each row its candidate, where not all of the batch are scored.
    private int[] _candidates = [];
    private int _failed;

    /// <summary>Rows of the model's inputs and outputs.</summary>
    public int Count { get; private set; }

    /// <summary>Whether rows are the batch's candidates, one for one.</summary>
    public bool AreAll { get; private set; }

    public bool AnyFailed => _failed > 0;

    public int Usable => Count - _failed;

    public FailureKind this[int row] => _failures[row];

    /// <param name="count">Candidates of the batch.</param>
    /// <param name="picked">Those that have a row, ascending; empty: all.</param>
    public void Reset(int count, ReadOnlySpan<int> picked)
    {
        AreAll = picked.IsEmpty;
        Count = AreAll ? count : picked.Length;
        if (_failures.Length < Count)
        {
            _failures = new FailureKind[Count];
            _candidates = new int[Count];
        }

        picked.CopyTo(_candidates);
        _failures.AsSpan(0, Count).Clear();
        _failed = 0;
    }

    public int CandidateOf(int row) => AreAll ? row : _candidates[row];

    /// <summary>Negative when there is none: the candidate is not scored, or not in the batch.</summary>
    public int RowOf(int candidate) => !AreAll ? _candidates.AsSpan(0, Count).BinarySearch(candidate) : (uint)candidate < (uint)Count ? candidate : -1;

    public void Fail(int row, FailureKind kind)
    {
        if (_failures[row] == FailureKind.None)
        {
            _failures[row] = kind;
            _failed++;
        }
    }
}
