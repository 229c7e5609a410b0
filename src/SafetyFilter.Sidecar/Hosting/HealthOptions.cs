namespace SafetyFilter.Sidecar.Hosting;

/// <summary>What health says. Section <c>Health</c>.</summary>
internal sealed class HealthOptions
{
    /// <summary>
    /// Whether health says NOT_SERVING while no classifier can be called and a hard one is among them: for a surface whose candidates are then
    /// all blocked, and for the sidecar as a whole when that is so of every classifier that it has. Default true: such an answer keeps
    /// nothing of a page but what a verdict cache still knows, and another instance may do better. Set false where every replica serves the same model and would leave the rotation
    /// with this one. A break that is over ends it, or no call would come to try the model.
    /// </summary>
    public bool NotServingWhenHardClassifierDown { get; set; } = true;
}
