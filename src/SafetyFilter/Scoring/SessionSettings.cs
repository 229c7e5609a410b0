using Microsoft.ML.OnnxRuntime;

namespace SafetyFilter.Scoring;

internal static class SessionSettings
{
    /// <summary>How every model runs: on the request's own thread, the same each time.</summary>
    /// <remarks>
    /// One thread per run, because requests already keep all cores busy and a model of this size loses more to hand-over than it gains.
    /// Where they do not, <see cref="RunSplitter"/> hands whole parts of a page over, which is cheaper than parts of each node.
    /// No memory pattern: one is kept per distinct input shape, and shapes vary with every request. The arena stays: it
    /// keeps the page faults of intermediate results out of requests, and its size ends at the largest batch's. Subnormals are
    /// not left to ONNX Runtime's flag, for the reason in <see cref="InputNumbers.Admit"/>.
    /// </remarks>
    public static SessionOptions Create()
    {
        var options = new SessionOptions
        {
            IntraOpNumThreads = 1,
            InterOpNumThreads = 1,
            ExecutionMode = ExecutionMode.ORT_SEQUENTIAL,
            GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL,
            EnableMemoryPattern = false,
            EnableCpuMemArena = true,
            // Failures are returned as values; what ONNX Runtime prints on stderr would be a second, unstructured log.
            LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL,
        };
        options.AddSessionConfigEntry("session.intra_op.allow_spinning", "0");
        options.AddSessionConfigEntry("session.inter_op.allow_spinning", "0");
        options.AddSessionConfigEntry("session.load_model_format", "ONNX");
        return options;
    }
}
