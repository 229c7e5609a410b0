using System.CommandLine;

namespace SafetyFilter.Cli.Audit;

/// <summary>The arguments by which every audit command is told which ledger it reads.</summary>
internal sealed class LedgerArguments
{
    private readonly Argument<string?> _path = new("path")
    {
        Arity = ArgumentArity.ZeroOrOne,
        Description = "A spool folder, the folder of one stream in it, or a segment file (*.seg).",
    };

    private readonly Option<string?> _topic = new("--topic") { Description = "Read a Kafka topic instead, from its start to its present end." };
    private readonly Option<string?> _servers = new("--bootstrap-servers") { Description = "host:port of Kafka brokers, comma separated." };
    private readonly Option<string[]> _settings = new("--kafka-setting")
    {
        Description = "A librdkafka setting as name=value, e.g. security.protocol=SASL_SSL. Repeatable.",
        AllowMultipleArgumentsPerToken = false,
        DefaultValueFactory = static _ => [],
    };

    public void AddTo(Command command)
    {
        command.Arguments.Add(_path);
        command.Options.Add(_topic);
        command.Options.Add(_servers);
        command.Options.Add(_settings);
    }

    /// <summary>What was asked for, or null with a message.</summary>
    public LedgerLocation? Read(ParseResult parsed, out string error)
    {
        error = "";
        var path = parsed.GetValue(_path);
        var topic = parsed.GetValue(_topic);
        var servers = parsed.GetValue(_servers);
        if ((path is null) == (topic is null))
        {
            error = "Name either a path or a topic (--topic with --bootstrap-servers).";
            return null;
        }

        if (topic is not null && servers is null)
        {
            error = "--topic needs --bootstrap-servers.";
            return null;
        }

        var settings = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var setting in parsed.GetValue(_settings) ?? [])
        {
            var equals = setting.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
            {
                error = $"--kafka-setting '{setting}' is not name=value.";
                return null;
            }

            settings[setting[..equals]] = setting[(equals + 1)..];
        }

        return new LedgerLocation(path, topic, servers, settings);
    }
}

/// <param name="Path">Null when it is a topic.</param>
internal sealed record LedgerLocation(string? Path, string? Topic, string? BootstrapServers, IReadOnlyDictionary<string, string> Settings);
