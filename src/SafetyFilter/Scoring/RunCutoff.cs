using Microsoft.ML.OnnxRuntime;

namespace SafetyFilter.Scoring;

/// <summary>Ends a run from outside. ONNX Runtime looks between two nodes of the graph, so a single long node still ends by itself.</summary>
internal sealed class RunCutoff : IDisposable
{
    private volatile bool _isCut;

    public RunOptions Options { get; } = new();

    /// <summary>Whether the run of this scratch was cut.</summary>
    public bool IsCut => _isCut;

    public void Cut()
    {
        Options.Terminate = true;
        _isCut = true;
    }

    public void Reset()
    {
        Options.Terminate = false;
        _isCut = false;
    }

    public void Dispose() => Options.Dispose();
}
