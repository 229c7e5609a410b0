using System.Collections.Immutable;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>How a run is made.</summary>
/// <param name="Pairs">Rounds; every ratio is the median of that many.</param>
/// <param name="Slice">Of requests at a fixed rate, per server and round.</param>
/// <param name="FlatOut">Of as many requests as go, per server and round.</param>
/// <param name="WarmUp">Each burst before anything is measured; there are as many as it takes.</param>
/// <param name="Ladder">Offered loads of the ladder, as shares of the sidecar's saturation; empty for none.</param>
/// <param name="Callers">How many ask at a time in a closed loop.</param>
/// <param name="Rate">Requests per second; null for half of the sidecar's saturation.</param>
/// <param name="Sidecars">Further builds of the sidecar to measure beside this one, by name.</param>
/// <param name="External">A command that starts another server with the same proto.</param>
internal sealed record ServiceOptions(
    ImmutableArray<Workload> Workloads,
    Cores Cores,
    int Pairs,
    TimeSpan Slice,
    TimeSpan FlatOut,
    TimeSpan WarmUp,
    ImmutableArray<double> Ladder,
    int Callers,
    double? Rate,
    ImmutableArray<(string Name, string Program)> Sidecars,
    string? External)
{
    public ulong Seed => 1;

    /// <summary>The figures' run: about two minutes a workload.</summary>
    public static ServiceOptions Full { get; } = new(
        Workload.All, new Cores(0, 1), Pairs: 7, TimeSpan.FromSeconds(4), TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(1),
        [0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], Callers: 4, null, [], null);

    /// <summary>For trying the harness.</summary>
    public static ServiceOptions Quick { get; } = Full with
    {
        Pairs = 2,
        Slice = TimeSpan.FromSeconds(1),
        FlatOut = TimeSpan.FromSeconds(0.5),
        WarmUp = TimeSpan.FromSeconds(0.5),
        Ladder = [0.25, 0.5, 0.9],
    };
}
