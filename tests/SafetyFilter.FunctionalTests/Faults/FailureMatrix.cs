using System.Collections.Concurrent;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.V1;
using BreakerState = SafetyFilter.Operations.V1.BreakerStatus.Types.State;
using Stub = SafetyFilter.Operations.V1.Operations.OperationsClient;

namespace SafetyFilter.FunctionalTests.Faults;

/// <summary>A way in which a classifier gives no score, and what its breaker makes of it.</summary>
/// <param name="Name">As rows are called.</param>
/// <param name="Sidecar">The sidecar of <see cref="FailureMatrix"/> on which it happens.</param>
/// <param name="Kind">As answers and records call it.</param>
/// <param name="Cause">As metrics call it.</param>
/// <param name="Classifier">The one that fails.</param>
/// <param name="Breaker">Its breaker's state afterwards.</param>
internal sealed record MatrixFailure(string Name, string Sidecar, FailureKind Kind, string Cause, string Classifier, BreakerState Breaker = BreakerState.Closed)
{
    public const string Text = "text-safety/hate";
    public const string Embedding = "embedding-safety/hate";

    public static readonly MatrixFailure Throws = new("throws", "faulty", FailureKind.Error, "error", Text);
    public static readonly MatrixFailure Invalid = new("invalid", "faulty", FailureKind.InvalidOutput, "invalid_output", Embedding);
    public static readonly MatrixFailure Slow = new("slow", "limited", FailureKind.OverBudget, "over_budget", Text) { BudgetMicros = 50_000 };
    public static readonly MatrixFailure Opens = new("opens", "limited", FailureKind.BreakerOpen, "breaker_open", Embedding, BreakerState.Open);
    public static readonly MatrixFailure Isolated = new("isolated", "healthy", FailureKind.BreakerOpen, "breaker_open", Embedding, BreakerState.Isolated);
    public static readonly MatrixFailure Missing = new("missing", "healthy", FailureKind.MissingFeature, "missing_feature", Embedding) { IsCallers = true };
    public static readonly MatrixFailure Misshapen = new("misshapen", "healthy", FailureKind.FeatureMismatch, "feature_mismatch", Embedding) { IsCallers = true };
    public static readonly MatrixFailure Shed = new("shed", "busy", FailureKind.Shed, "shed", Embedding);

    public static readonly MatrixFailure[] All = [Throws, Invalid, Slow, Opens, Isolated, Missing, Misshapen, Shed];

    public int BudgetMicros { get; private init; } = 1_000_000;

    /// <summary>Whether the caller brings it about.</summary>
    public bool IsCallers { get; private init; }

    /// <summary>Whether it counts as all classifiers being down: not what the caller brings about, nor where none of them was asked.</summary>
    public bool IsDown => !IsCallers && Kind != FailureKind.Shed;

    public string Bundle => Classifier[..Classifier.IndexOf('/', StringComparison.Ordinal)];

    public override string ToString() => Name;
}

/// <summary>What a policy says of a classifier without a score, and what becomes of a candidate then.</summary>
/// <param name="Name">As rows are called.</param>
/// <param name="Classifier">What the policy says of the classifier.</param>
/// <param name="Action">What is done with the candidate.</param>
/// <param name="Basis">What that rests on.</param>
/// <param name="Rule">The rule that decides.</param>
/// <param name="Mark">The mode in the degradation.</param>
internal sealed record MatrixMode(string Name, string Classifier, V1.Action Action, Basis Basis, string Rule, FailMode Mark)
{
    private const string Remembering = "{ fail: { last-known: closed } }";

    public static readonly MatrixMode Closed = new("closed", "{ fail: closed }", V1.Action.Block, Basis.FailedClosed, "block-sure", FailMode.Closed);
    public static readonly MatrixMode Open = new("open", "{ fail: open }", V1.Action.Allow, Basis.FailedOpen, "default", FailMode.Open);
    public static readonly MatrixMode Hard = new("hard", "{ fail: closed, hard: true }", V1.Action.Block, Basis.FailedClosed, "unscored", FailMode.Closed);
    public static readonly MatrixMode Remembered = new("remembered", Remembering, V1.Action.Demote, Basis.LastKnown, "demote-scored", FailMode.LastKnown);
    public static readonly MatrixMode UnknownClosed = new("unknown-closed", Remembering, V1.Action.Block, Basis.FailedClosed, "block-sure", FailMode.Closed);
    public static readonly MatrixMode UnknownOpen = new("unknown-open", "{ fail: { last-known: open } }", V1.Action.Allow, Basis.FailedOpen, "default", FailMode.Open);
    public static readonly MatrixMode DownBlock = new("down-block", "{ fail: open }", V1.Action.Block, Basis.FailedClosed, "all-down", FailMode.Closed) { AllDown = "block" };
    public static readonly MatrixMode DownAllow = new("down-allow", "{ fail: closed }", V1.Action.Allow, Basis.FailedOpen, "all-down", FailMode.Open) { AllDown = "allow" };
    public static readonly MatrixMode DownRefuse = new("down-refuse", "{ fail: closed }", default, default, "", default) { AllDown = "refuse" };

    public static readonly MatrixMode[] All = [Closed, Open, Hard, Remembered, UnknownClosed, UnknownOpen, DownBlock, DownAllow, DownRefuse];

    public string AllDown { get; private init; } = "classifiers";

    public bool IsRefused => this == DownRefuse;

    public override string ToString() => Name;
}

/// <summary>One of the sidecars, with its callers' and its operator's way in.</summary>
internal sealed record MatrixSidecar(SidecarProcess Process, Wire Wire, Wire Operator) : IAsyncDisposable
{
    public Stub Operations { get; } = new(Operator.Channel);

    public async ValueTask DisposeAsync()
    {
        Wire.Dispose();
        Operator.Dispose();
        await Process.DisposeAsync();
    }
}

/// <summary>
/// Sidecars on which every failure of a classifier happens, with a surface and a breaker for each failure and mode: what is counted
/// there, its row alone brought about.
/// </summary>
public sealed class FailureMatrix : IAsyncLifetime
{
    /// <summary>A surface whose requests hold their place for a while.</summary>
    internal const string Holder = "holder";

    // Half of the calls fail, so that there is something to remember.
    private static readonly (string Name, (string, string)[] Settings)[] Configurations =
    [
        ("healthy", []),
        ("faulty", [("Chaos__Enabled", "true"), ("Chaos__Bundles__text-safety__FaultRate", "0.5"), ("Chaos__Bundles__embedding-safety__InvalidOutputRate", "0.5")]),
        ("limited",
        [
            ("Chaos__Enabled", "true"),
            ("Chaos__Bundles__text-safety__Latency", "00:01:00"),
            ("Chaos__Bundles__text-safety__LatencyRate", "0.5"),
            ("Chaos__Bundles__embedding-safety__FaultRate", "0.5"),
            ("Breaker__Bundles__text-safety__SlowCallMicros", "1000"),
            ("Breaker__Bundles__embedding-safety__MinimumThroughput", "20"),
            ("Breaker__Bundles__embedding-safety__FailureRatio", "0.1"),
        ]),
        ("busy",
        [
            ("Chaos__Enabled", "true"),
            ("Chaos__Bundles__text-safety__Latency", "00:01:00"),
            ("Chaos__Bundles__text-safety__LatencyRate", "1"),
            ("Admission__Places", "1"),
            ("Admission__MaxWait", "00:00:00.020"),
        ]),
    ];

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-matrix-");
    private readonly ConcurrentDictionary<string, MatrixSidecar> _sidecars = new(StringComparer.Ordinal);

    internal static IEnumerable<(MatrixFailure Failure, MatrixMode Mode)> Rows =>
        from failure in MatrixFailure.All
        from mode in MatrixMode.All
        where mode.AllDown == "classifiers" || failure.IsDown
        select (failure, mode);

    internal MatrixSidecar this[string name] => _sidecars[name];

    internal static string Surface(MatrixFailure failure, MatrixMode mode) => $"{failure}-{mode}";

    /// <summary>A path for the operations socket of a sidecar.</summary>
    internal string Socket(string name) => Path.Combine(_folder.FullName, name + ".sock");

    public async ValueTask InitializeAsync()
    {
        try
        {
            await Task.WhenAll(Configurations.Select(one => StartAsync(one.Name, one.Settings)));
        }
        catch
        {
            await DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var sidecar in _sidecars.Values)
        {
            await sidecar.DisposeAsync();
        }

        _folder.Delete(recursive: true);
    }

    private async Task StartAsync(string name, (string, string)[] settings)
    {
        var policies = Directory.CreateDirectory(Path.Combine(_folder.FullName, name)).FullName;
        await File.WriteAllTextAsync(
            Path.Combine(policies, "rows.yaml"),
            string.Join("\n---\n", Rows.Where(row => row.Failure.Sidecar == name).Select(static row => Policy(row.Failure, row.Mode)).Append(HoldingPolicy)));
        var socket = Socket(name);
        var process = await SidecarProcess.StartAsync(
            [
                ("Policies__Folder", policies),
                ("Operations__UnixSocket", socket),
                ("Breaker__MinimumThroughput", "1000000"),
                ("Breaker__SamplingDuration", "00:10:00"),
                ("Breaker__BreakDuration", "1.00:00:00"),
                .. settings,
            ]);
        _sidecars[name] = new MatrixSidecar(process, Wire.Tcp(process), Wire.Unix(socket));
    }

    // A score demotes, however low; only one that stands for "over every limit" blocks.
    private static string Policy(MatrixFailure failure, MatrixMode mode) => $$"""
        policy: {{Surface(failure, mode)}}
        owner: tests
        surfaces: [{{Surface(failure, mode)}}]
        breaker_group: {{Surface(failure, mode)}}
        budget_us: {{failure.BudgetMicros}}
        overload: {{(failure == MatrixFailure.Shed ? "fail-mode" : "refuse")}}
        all_down: {{mode.AllDown}}
        classifiers: { {{failure.Classifier}}: {{mode.Classifier}}{{(failure == MatrixFailure.Misshapen ? ", text-safety/spam: { fail: open }" : "")}} }
        rules:
          - { id: block-sure, when: { score: {{failure.Classifier}}, at_least: 1 }, action: block, reason: HATE }
          - { id: demote-scored, when: { score: {{failure.Classifier}}, at_least: 0.000001 }, action: { demote: 0.5 }, reason: HATE }
        """;

    private const string HoldingPolicy = $$"""
        policy: {{Holder}}
        owner: tests
        surfaces: [{{Holder}}]
        budget_us: 300000
        overload: fail-mode
        classifiers: { text-safety/hate: { fail: open } }
        rules:
          - { id: block-hate, when: { score: text-safety/hate, at_least: 0.9 }, action: block, reason: HATE }
        """;
}
