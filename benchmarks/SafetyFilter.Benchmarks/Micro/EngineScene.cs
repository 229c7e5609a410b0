using Google.Protobuf;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;
using SafetyFilter.Sidecar.Grpc;

namespace SafetyFilter.Benchmarks.Micro;

/// <summary>The engine as the sidecar assembles it, on the committed bundles and a spool of its own, with one request that it has decided once.</summary>
internal sealed class EngineScene : IDisposable
{
    private static readonly RequestLimits Limits = new();

    private readonly ClassifierSet _classifiers;
    private readonly InProcessEngine _engine;
    private readonly byte[] _wire;
    private LedgerReceipt _receipt;

    /// <param name="workload">One of <see cref="MicroRequests"/>.</param>
    /// <param name="splitAbove">As <c>Scoring:SplitAbove</c>.</param>
    /// <param name="isAlone">Whether the other cores are idle; else they are taken to have requests.</param>
    public EngineScene(string workload, int splitAbove = 0, bool isAlone = true)
    {
        var models = ClassifierSet.Load(Path.Combine(AppContext.BaseDirectory, "models"), BundleLimits.Default, TimeProvider.System);
        _classifiers = models.Value ?? throw new InvalidOperationException(string.Join('\n', models.Errors));
        _engine = new InProcessEngine(_classifiers, MicroRequests.Policy(workload), splitAbove: splitAbove);
        for (var core = 1; core < Environment.ProcessorCount && !isAlone; core++)
        {
            _engine.Splitter.Enter();
        }

        _wire = MicroRequests.Compose(workload).Seal().ToByteArray();
        Read();
        Decide();
        foreach (var basis in Decision.Verdicts.Bases)
        {
            if (basis != Basis.Evaluated)
            {
                throw new InvalidOperationException($"A candidate of {workload} was decided by {basis}: that is another, cheaper way.");
            }
        }
    }

    public Decision Decision { get; } = new();

    public SurfacePolicy Policy => _engine.Plan.Policy;

    public ProtoWriter Record { get; } = new();

    public ProtoWriter Reply { get; } = new();

    /// <summary>Wire to columns. Returns the number of candidates.</summary>
    public int Read()
    {
        var batch = Decision.Batch;
        batch.Reset();
        batch.Buffer = _wire;
        return (FilterRequestReader.Read(batch, _wire.Length, Limits) ?? FilterRequestRules.Check(batch)) is { } refusal
            ? throw new InvalidOperationException(refusal.Message)
            : batch.Count;
    }

    /// <summary>The engine's whole way. Returns the number of verdicts.</summary>
    public int Decide()
    {
        Decision.BudgetMicros = uint.MaxValue;
        return _engine.Engine.Decide(Decision, Record, out _receipt) is { } refusal
            ? throw new InvalidOperationException(refusal.Message)
            : Decision.Verdicts.Actions.Length;
    }

    /// <summary>The decision as a record. Returns its bytes.</summary>
    public int Encode()
    {
        DecisionRecordEncoder.Encode(Decision, _engine.Engine.StreamId, _engine.Ledger.Epoch, 0, Record);
        return Record.Length;
    }

    /// <summary>The decision as an answer. Returns its bytes.</summary>
    public int Write()
    {
        Reply.Clear();
        FilterResponseWriter.Write(Decision, _receipt, _engine.Engine.StreamId, Reply);
        return Reply.Length;
    }

    public void Dispose()
    {
        _engine.Dispose();
        _classifiers.Dispose();
    }
}
