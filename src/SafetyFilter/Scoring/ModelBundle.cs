using System.Collections.Immutable;
using System.Diagnostics;
using Microsoft.ML.OnnxRuntime;
using SafetyFilter.Decisions;

namespace SafetyFilter.Scoring;

/// <summary>How one bundle's run over one request ended.</summary>
/// <param name="Failure">None, OverBudget when the run was cut, or why the whole bundle gave no score; the caller then marks its rows.</param>
/// <param name="InvalidOutputs">Classifier x candidate cells that were NaN, infinite or outside 0..1; marked in the table.</param>
/// <param name="Error">What was thrown, with <see cref="FailureKind.Error"/> and, for a wrong shape, <see cref="FailureKind.InvalidOutput"/>.</param>
internal readonly record struct ScoringOutcome(FailureKind Failure, int InvalidOutputs, Exception? Error)
{
    /// <summary>Whether no candidate was readable, so that the model did not run.</summary>
    public bool IsVain { get; init; }

    /// <summary>In how many parts the run was split; 0 when it was not.</summary>
    public int Parts { get; init; }
}

/// <summary>A loaded model that scores candidates. Immutable and thread-safe; disposing waits for nobody and breaks no running call.</summary>
internal sealed class ModelBundle : IDisposable
{
    private static readonly ScoringOutcome Cut = new(FailureKind.OverBudget, 0, null);

    private readonly InferenceSession _session;
    private readonly SlotPool<RunScratch> _scratches;

    // One for the owner and one for each running call; the session goes when it falls to 0.
    private int _holders = 1;
    private int _disposed;

    public ModelBundle(InferenceSession session, BundleManifest manifest, ReadOnlyMemory<byte> modelSha256)
    {
        _session = session;
        _scratches = new SlotPool<RunScratch>(Math.Max(4, Environment.ProcessorCount * 2), () => new RunScratch(session, manifest));
        Manifest = manifest;
        ModelSha256 = modelSha256;
        Classifiers = [.. manifest.Classifiers.Select(classifier => $"{manifest.Name}/{classifier.Label}")];
    }

    public BundleManifest Manifest { get; }

    public string Name => Manifest.Name;

    public string Version => Manifest.Version;

    /// <summary>SHA-256 of model.onnx, 32 bytes.</summary>
    public ReadOnlyMemory<byte> ModelSha256 { get; }

    /// <summary>SHA-256 of manifest.json, 32 bytes; empty for a bundle that was not loaded from a folder.</summary>
    public ReadOnlyMemory<byte> ManifestSha256 { get; init; }

    /// <summary>Where it was loaded from; empty when from nowhere.</summary>
    public string Folder { get; init; } = "";

    /// <summary>How far a score may lie from the golden one, whatever its neighbours: what the bundle says of itself, 0 to 0.01.</summary>
    public double Tolerance { get; init; }

    /// <summary>What its runs take.</summary>
    public RunCost Cost { get; } = new();

    /// <summary>"bundle/label", in output order.</summary>
    public ImmutableArray<string> Classifiers { get; }

    /// <summary>Why a request as a whole cannot be scored, which is its caller's doing: MissingFeature or FeatureMismatch, else None.</summary>
    public FailureKind Refuses(CandidateBatch batch)
    {
        foreach (var feature in Manifest.Features)
        {
            if (feature.Refuses(batch) is not FailureKind.None and var refused)
            {
                return refused;
            }
        }

        return FailureKind.None;
    }

    /// <summary>Scores a batch into the rows of a table: <see cref="Refuses"/>, <see cref="Prepare"/> and run in one.</summary>
    /// <param name="batch">Its features are read; a feature it lacks fails the bundle, a candidate without it only that candidate.</param>
    /// <param name="table">Sized for the batch. Failures of single candidates are marked in it.</param>
    /// <param name="slots">For each of <see cref="Classifiers"/> its row of the table, or -1 when unwanted.</param>
    /// <param name="picked">The candidates to score, ascending; the others' cells are left alone. Empty: all.</param>
    /// <returns>Never throws for a model's or a caller's fault. On a failure of the whole bundle the cells of what it should score are undefined.</returns>
    public ScoringOutcome Score(CandidateBatch batch, ScoreTable table, ReadOnlySpan<int> slots, ReadOnlySpan<int> picked = default)
    {
        if (batch.Count == 0)
        {
            return default;
        }

        if (Refuses(batch) is not FailureKind.None and var refused)
        {
            return new ScoringOutcome(refused, 0, null);
        }

        using var run = Prepare(batch, picked);
        return run.Run(table, slots);
    }

    /// <summary>Reads a batch, of at least one candidate, that <see cref="Refuses"/> accepts into the model's inputs. Nothing of the model runs yet.</summary>
    /// <param name="batch">What to read.</param>
    /// <param name="picked">The candidates to score, ascending; empty: all.</param>
    public PreparedRun Prepare(CandidateBatch batch, ReadOnlySpan<int> picked = default)
    {
        if (!TryHold())
        {
            return new PreparedRun(this, null, new ObjectDisposedException(Name));
        }

        RunScratch? scratch = null;
        try
        {
            scratch = _scratches.Rent();
            scratch.Fill(batch, picked);
            return new PreparedRun(this, scratch, null);
        }
        catch (Exception error)
        {
            if (scratch is not null)
            {
                scratch.Dispose();
            }

            Release();
            return new PreparedRun(this, null, error);
        }
    }

    internal ScoringOutcome Run(RunScratch scratch, ScoreTable table, ReadOnlySpan<int> slots)
    {
        scratch.IsSound = false;
        try
        {
            if (scratch.Usable > 0)
            {
                _session.RunWithBinding(scratch.Options, scratch.Binding);
            }

            var invalid = scratch.Read(table, slots);
            scratch.IsSound = true;
            return scratch.EndWatch() ? Cut : new ScoringOutcome(FailureKind.None, invalid, null);
        }
        catch (Exception) when (scratch.EndWatch())
        {
            return Cut;
        }
        catch (OnnxRuntimeException error) when (RunScratch.IsWrongOutputShape(error))
        {
            return new ScoringOutcome(FailureKind.InvalidOutput, 0, error);
        }
        catch (Exception error)
        {
            return new ScoringOutcome(FailureKind.Error, 0, error);
        }
    }

    internal void Finish(RunScratch scratch)
    {
        // For a run that was watched and never begun.
        scratch.EndWatch();
        if (!scratch.IsSound || !_scratches.TryReturn(scratch))
        {
            // A failed run may have left it in any state.
            scratch.Dispose();
        }

        Release();
    }

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            Release();
        }
    }

    /// <summary>Keeps the session until <see cref="Release"/>; false when the bundle is disposed.</summary>
    internal bool TryHold()
    {
        var holders = Volatile.Read(ref _holders);
        while (holders > 0)
        {
            var seen = Interlocked.CompareExchange(ref _holders, holders + 1, holders);
            if (seen == holders)
            {
                return true;
            }

            holders = seen;
        }

        return false;
    }

    internal void Release()
    {
        if (Interlocked.Decrement(ref _holders) == 0)
        {
            while (_scratches.TryTake(out var scratch))
            {
                scratch.Dispose();
            }

            _session.Dispose();
        }
    }
}

/// <summary>A batch in a model's inputs, ready to run once. Dispose it; it is used by one thread.</summary>
/// <param name="bundle">Held until this is disposed.</param>
/// <param name="scratch">Null when the batch could not be read in.</param>
/// <param name="error">Why not.</param>
internal readonly struct PreparedRun(ModelBundle bundle, RunScratch? scratch, Exception? error) : IDisposable
{
    /// <summary>Whether no candidate has all the features: the model will not run, and the outcome says nothing about it.</summary>
    public bool IsVain => scratch is { Usable: 0 };

    /// <summary>Whether it was cut, since <see cref="Watch"/> and before its run has ended.</summary>
    public bool IsCut => scratch is { IsCut: true };

    /// <summary>Has the run cut when it overruns. Its outcome is then OverBudget.</summary>
    /// <param name="spent">What the thread has already used of the limit, in ticks of <see cref="Stopwatch"/>.</param>
    /// <returns>False when that is all of it: there is nothing to run for.</returns>
    public bool Watch(in RunLimit limit, long spent = 0)
    {
        if (limit is not { Micros: > 0, Watchdog: { } watchdog })
        {
            return true;
        }

        var now = Stopwatch.GetTimestamp();
        var deadline = RunWatchdog.DeadlineOf(now - spent, limit.Micros);
        if (deadline <= now)
        {
            return false;
        }

        scratch?.Watch(watchdog, deadline);
        return true;
    }

    /// <summary>Runs the model and reads its scores; see <see cref="ModelBundle.Score"/>.</summary>
    public ScoringOutcome Run(ScoreTable table, ReadOnlySpan<int> slots)
    {
        if (slots.Length != bundle.Classifiers.Length)
        {
            throw new ArgumentException($"{slots.Length} slots for {bundle.Classifiers.Length} classifiers of '{bundle.Name}'.", nameof(slots));
        }

        return scratch is null ? new ScoringOutcome(FailureKind.Error, 0, error) : bundle.Run(scratch, table, slots);
    }

    public void Dispose()
    {
        if (scratch is not null)
        {
            bundle.Finish(scratch);
        }
    }
}
