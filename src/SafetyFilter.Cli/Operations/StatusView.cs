using System.Globalization;
using SafetyFilter.Operations.V1;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace SafetyFilter.Cli.Operations;

/// <summary>A status as tables for a terminal.</summary>
internal static class StatusView
{
    /// <param name="status">What to show.</param>
    /// <param name="before">An earlier one of the same sidecar: numbers that count up are then shown per second.</param>
    public static IRenderable Of(SidecarStatus status, SidecarStatus? before)
    {
        var seconds = before is null ? 0 : (status.TimeUnixNanos - before.TimeUnixNanos) / 1e9;
        var parts = new List<IRenderable> { Head(status, isRate: before is not null) };
        parts.AddRange(status.Troubles.Select(static trouble => new Text(trouble, new Style(Color.Red))));
        parts.Add(Surfaces(status, before, seconds));
        if (status.Breakers.Count > 0)
        {
            parts.Add(Breakers(status.Breakers));
        }

        parts.Add(Admission(status.Admission, before?.Admission, seconds));
        parts.Add(Ledger(status.Ledger, before?.Ledger, seconds));
        return new Rows(parts);
    }

    public static Table Breakers(IEnumerable<BreakerStatus> breakers)
    {
        var table = NewTable("breaker (group)", "state", "calls", "failed", "slow", "turned away", "surfaces");
        foreach (var breaker in breakers)
        {
            table.AddRow(
                new Text(breaker.Group == "default" ? breaker.Bundle : $"{breaker.Bundle} ({breaker.Group})"), State(breaker),
                Number(breaker.Calls), Number(breaker.Failures), Number(breaker.SlowCalls), Number(breaker.TurnedAway), new Text(string.Join(' ', breaker.Surfaces)));
        }

        return table;
    }

    private static Text Head(SidecarStatus status, bool isRate) => new(string.Create(
        CultureInfo.InvariantCulture,
        $"{(status.Serving ? "serving" : "NOT serving")} for {TimeSpan.FromSeconds(status.ServingSeconds):c}, build {status.Build}, configuration {Short(status.ConfigRevision)}; {status.Reload.Accepted} changes taken, {status.Reload.Refused} refused{(isRate ? "; what is counted, but for breakers, is per second" : "")}"));

    private static Text State(BreakerStatus breaker) => breaker.State switch
    {
        BreakerStatus.Types.State.Open => new Text($"open, {breaker.OpenForMillis / 1000.0:0.0} s left", new Style(Color.Red)),
        BreakerStatus.Types.State.HalfOpen => new Text($"half-open, {breaker.Trials} of {breaker.TrialsNeeded} trials", new Style(Color.Yellow)),
        BreakerStatus.Types.State.Isolated => new Text("isolated", new Style(Color.Red)),
        _ => new Text("closed", new Style(Color.Green)),
    };

    private static Rows Surfaces(SidecarStatus status, SidecarStatus? before, double seconds)
    {
        var load = NewTable("surface", "policy", "requests", "candidates", "degraded", "budget", "over");
        var actions = NewTable("candidates", "allow", "label", "age-restrict", "demote", "block");
        foreach (var surface in status.Surfaces)
        {
            var old = before?.Surfaces.FirstOrDefault(one => one.Name == surface.Name) ?? new SurfaceStatus();
            Text Rate(Func<SurfaceStatus, ulong> of) => Number(seconds > 0 ? (of(surface) - of(old)) / seconds : of(surface));
            var (engine, budget) = (surface.EngineMicros - old.EngineMicros, surface.BudgetMicros - old.BudgetMicros);
            load.AddRow(
                new Text(surface.Name), new Text(surface.Policy.Length == 0 ? "not served" : $"{surface.Policy} {Short(surface.PolicyRevision)}"),
                Rate(static one => one.Requests), Rate(static one => one.Candidates), Rate(static one => one.Degraded),
                new Text(budget == 0 ? "-" : string.Create(CultureInfo.InvariantCulture, $"{100.0 * engine / budget:0} %")), Rate(static one => one.OverBudget));
            actions.AddRow(
                new Text(surface.Name), Rate(static one => one.Allowed), Rate(static one => one.Labelled), Rate(static one => one.AgeRestricted),
                Rate(static one => one.Demoted), Rate(static one => one.Blocked));
        }

        return new Rows(load, actions);
    }

    private static Table Admission(AdmissionStatus now, AdmissionStatus? before, double seconds)
    {
        var table = NewTable("admission", "places", "at work", "waiting", "refused", "served by fail mode");
        table.AddRow(
            new Text(""), Number(now.Limit), Number(now.InFlight), Number(now.Waiting),
            Number(seconds > 0 ? (now.Refused - before!.Refused) / seconds : now.Refused),
            Number(seconds > 0 ? (now.ServedByFailMode - before!.ServedByFailMode) / seconds : now.ServedByFailMode));
        return table;
    }

    private static Table Ledger(LedgerStatus ledger, LedgerStatus? before, double seconds)
    {
        var table = NewTable("ledger", "records", "unsynced", "unsigned", "unsent", "oldest", "free", "lost");
        table.AddRow(
            new Text($"{Convert.ToHexStringLower(ledger.StreamId.Span)[..8]}/{ledger.Epoch}"),
            seconds > 0 ? Number((ledger.LastSequence - before!.LastSequence) / seconds) : Number(ledger.LastSequence),
            Number(ledger.LastSequence - Math.Min(ledger.DurableSequence, ledger.LastSequence)), Number(ledger.LastSequence - Math.Min(ledger.SignedSize, ledger.LastSequence)),
            ledger.Kafka ? Number(ledger.Unpublished) : new Text("Kafka off"),
            Age(ledger.OldestUnpublishedMillis / 1000.0), Size(ledger.FreeBytes / (double)(1 << 30)), Number(ledger.Lost));
        return table;
    }

    private static Text Age(double seconds) => new(seconds switch
    {
        < 100 => string.Create(CultureInfo.InvariantCulture, $"{seconds:0.#} s"),
        < 6000 => string.Create(CultureInfo.InvariantCulture, $"{seconds / 60:0} min"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{seconds / 3600:0} h"),
    });

    private static Text Size(double gibibytes) => new(gibibytes < 1000
        ? string.Create(CultureInfo.InvariantCulture, $"{gibibytes:0.#} GiB")
        : string.Create(CultureInfo.InvariantCulture, $"{gibibytes / 1024:0.#} TiB"));

    private static Table NewTable(params string[] columns)
    {
        var table = new Table { Border = TableBorder.Simple };
        foreach (var column in columns)
        {
            // All of it fits a terminal of 80 columns.
            var shown = new TableColumn(column) { Padding = new Padding(0, 0, 1, 0) };
            table.AddColumn(column == "surfaces" ? shown : shown.NoWrap());
        }

        return table;
    }

    private static Text Number(double value) => new(value.ToString(value is > 0 and < 10 && value != Math.Floor(value) ? "0.0" : "N0", CultureInfo.InvariantCulture));

    private static string Short(string revision) => revision.Length > 8 ? revision[..8] : revision;
}
