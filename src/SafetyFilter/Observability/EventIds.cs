namespace SafetyFilter.Observability;

/// <summary>Stable ids of log events: people alert on them, so a number is never used for something else.</summary>
internal static class EventIds
{
    // Serving: 1000
    public const int Serving = 1000;
    public const int LoadFailed = 1001;
    public const int Draining = 1002;
    public const int LedgerClosed = 1003;
    public const int BundleLoaded = 1004;
    public const int LedgerNotDurable = 1005;

    // Requests: 1100
    public const int BundleThrew = 1100;
    public const int LedgerRefused = 1101;
    public const int RequestFailed = 1102;

    // Breakers: 1200
    public const int BreakerOpened = 1200;
    public const int BreakerHalfOpened = 1201;
    public const int BreakerClosed = 1202;
    public const int ChaosEnabled = 1203;
}
