namespace SafetyFilter.Sidecar.Reload;

/// <summary>Which settings take effect while serving, and which must not be shown.</summary>
internal static class SettingKeys
{
    public const string Kafka = "Ledger:Kafka:";
    private const string LogLevelSection = "LogLevel:";

    private const string ProducerSection = Kafka + "Producer:";

    private static readonly string[] Secret = ["password", "secret", "token", "credential"];
    private static readonly string[] Place = ["file", "location", "folder", "url", "endpoint"];

    // Of librdkafka's settings. All others are hidden: a misspelt sasl.password is no known secret but has one for its value.
    private static readonly string[] Harmless =
    [
        "batch.", "broker.", "client.", "compression.", "connections.", "debug", "linger.", "message.", "metadata.", "queue.", "reconnect.", "request.",
        "retries", "retry.", "sasl.mechanism", "sasl.username", "security.protocol", "socket.", "statistics.", "topic.",
    ];

    /// <summary>Everything else needs a restart. Whether Kafka is on at all decides how the spool is opened, so that does too.</summary>
    public static bool IsReloadable(string key, bool isKafkaSwitched) =>
        Is(key, "Limits:MaxBudget") || Begins(key, "Scoring:") || Begins(key, "Breaker:") || IsLogLevel(key) || (Begins(key, Kafka) && !isKafkaSwitched);

    /// <summary>Logging:LogLevel:CATEGORY, and Logging:PROVIDER:LogLevel:CATEGORY.</summary>
    public static bool IsLogLevel(string key) =>
        Begins(key, "Logging:") && key.Contains(":" + LogLevelSection, StringComparison.OrdinalIgnoreCase);

    public static bool IsIn(string key, string section) => Is(key, section) || Begins(key, section + ":");

    /// <summary>The value, or *** where it is or may be a secret itself and not the place of one.</summary>
    public static string Shown(string key, string value)
    {
        var name = key[(key.LastIndexOf(':') + 1)..];
        var isSecret = Begins(key, ProducerSection)
            ? !Array.Exists(Harmless, start => Begins(name, start))
            : Array.Exists(Secret, word => name.Contains(word, StringComparison.OrdinalIgnoreCase));
        return isSecret && !Array.Exists(Place, end => name.EndsWith(end, StringComparison.OrdinalIgnoreCase)) ? "***" : value;
    }

    /// <summary>Log levels that are none: the logging library would throw, and only when it filters.</summary>
    public static IEnumerable<string> WrongLogLevels(IEnumerable<KeyValuePair<string, string?>> settings)
    {
        foreach (var (key, value) in settings)
        {
            if (value is not null && IsLogLevel(key) && !(Enum.TryParse<LogLevel>(value, ignoreCase: true, out var level) && Enum.IsDefined(level)))
            {
                yield return $"{key} is '{value}'; use Trace, Debug, Information, Warning, Error, Critical or None.";
            }
        }
    }

    private static bool Is(string key, string other) => key.Equals(other, StringComparison.OrdinalIgnoreCase);

    private static bool Begins(string key, string start) => key.StartsWith(start, StringComparison.OrdinalIgnoreCase);
}
