using System.CommandLine;
using System.Text.Json;
using SafetyFilter.Ledger;

namespace SafetyFilter.Cli.Audit;

/// <summary>The arguments by which every audit command is told which ledger it reads.</summary>
/// <param name="byTime">Whether the command takes the records between two times itself, so that --from and --to hold for files too.</param>
/// <param name="byGroup">Whether the command can share a topic with other workers.</param>
internal sealed class LedgerArguments(bool byTime = false, bool byGroup = false)
{
    private readonly Argument<string[]> _paths = new("path")
    {
        Arity = ArgumentArity.ZeroOrMore,
        Description = "Spool folders, folders of one stream in them, or segment files (*.seg), wherever they were copied to.",
        DefaultValueFactory = static _ => [],
    };

    private readonly Option<string?> _topic = new("--topic") { Description = "Read a Kafka topic instead, from its start to its present end." };
    private readonly Option<string?> _servers = new("--bootstrap-servers") { Description = "host:port of Kafka brokers, comma separated." };
    private readonly Option<string?> _from = new("--from")
    {
        Description = "Where to begin in every partition of the topic: offset:123, or an ISO 8601 time (UTC unless it says otherwise).",
    };

    private readonly Option<string?> _to = new("--to") { Description = "Where to stop in every partition of the topic; that message is not read." };
    private readonly Option<string[]> _settings = new("--kafka-setting")
    {
        Description = "A librdkafka setting as name=value, e.g. security.protocol=SASL_SSL. Repeatable.",
        AllowMultipleArgumentsPerToken = false,
        DefaultValueFactory = static _ => [],
    };

    private readonly Option<string?> _group = new("--group")
    {
        Description = "Share the topic's partitions with other workers that name the same consumer group. A partition is committed when it is done. Use a new name for every question.",
        HelpName = "NAME",
    };

    public void AddTo(Command command)
    {
        command.Arguments.Add(_paths);
        command.Options.Add(_topic);
        command.Options.Add(_servers);
        command.Options.Add(_from);
        command.Options.Add(_to);
        command.Options.Add(_settings);
        if (byGroup)
        {
            command.Options.Add(_group);
        }
    }

    /// <summary>Whether other workers read other parts of the topic.</summary>
    public bool IsShared(ParseResult parsed) => byGroup && parsed.GetValue(_group) is not null;

    /// <summary>
    /// Does the command's work on the source; with a group on one after another of the partitions that it gives to this worker.
    /// </summary>
    /// <param name="shared">With a group, how the partitions went; else null.</param>
    public string? Run(ParseResult parsed, ILedgerSource source, Func<ILedgerSource, CancellationToken, PartitionWork> work, out GroupShare? shared, CancellationToken stop)
    {
        shared = null;
        if (!byGroup || parsed.GetValue(_group) is not { } name)
        {
            var whole = work(source, stop);
            if (whole.Failure is null)
            {
                whole.Take?.Invoke();
            }

            return whole.Failure;
        }

        var group = new TopicGroup((TopicSource)source, name);
        var failure = group.Run(work, stop);
        shared = new GroupShare(group.Finished, group.AlreadyDone, group.Lost);
        return failure;
    }

    /// <summary>What was asked for (a <see cref="SpoolSource"/> or a <see cref="TopicSource"/>), or null with a message.</summary>
    public ILedgerSource? Open(ParseResult parsed, out string error)
    {
        error = "";
        var paths = parsed.GetValue(_paths) ?? [];
        if (parsed.GetValue(_topic) is { } topic)
        {
            if (paths.Length == 0)
            {
                return OpenTopic(parsed, topic, out error);
            }

            error = "Name either paths or a topic, not both.";
            return null;
        }

        if (IsShared(parsed))
        {
            error = "--group shares the partitions of a topic: it needs --topic.";
            return null;
        }

        if (paths.Length == 0)
        {
            error = "Name a path, or a topic (--topic with --bootstrap-servers).";
            return null;
        }

        if (!byTime && (parsed.GetValue(_from) is not null || parsed.GetValue(_to) is not null))
        {
            error = "--from and --to are for topics. Of a folder, name the segments you want.";
            return null;
        }

        return SpoolSource.TryOpen(paths, out var source, out var problem) ? source : Refuse(problem!, out error);
    }

    /// <summary>The times that --from and --to name, as Unix nanoseconds; everything where they name none. Null with a message when one is no time.</summary>
    public (ulong From, ulong To)? Times(ParseResult parsed, out string error)
    {
        error = "";
        var (from, to) = (0UL, ulong.MaxValue);
        foreach (var option in (Option<string?>[])[_from, _to])
        {
            if (parsed.GetValue(option) is not { } text)
            {
                continue;
            }

            if (!TopicPlace.TryParse(text, out var place) || (place.Offset is not null && parsed.GetValue(_topic) is null))
            {
                error = $"{option.Name} '{text}' is no time like 2025-06-01T12:00:00Z.";
                return null;
            }

            var nanos = place.Time is { } time ? (ulong)Math.Max(0, (time - DateTimeOffset.UnixEpoch).Ticks) * TimeSpan.NanosecondsPerTick : (ulong?)null;
            (from, to) = option == _from ? (nanos ?? from, to) : (from, nanos ?? to);
        }

        return (from, to);
    }

    private ILedgerSource? OpenTopic(ParseResult parsed, string topic, out string error)
    {
        error = "";
        if (parsed.GetValue(_servers) is not { } servers)
        {
            return Refuse("--topic needs --bootstrap-servers.", out error);
        }

        var settings = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var setting in parsed.GetValue(_settings) ?? [])
        {
            var equals = setting.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
            {
                return Refuse($"--kafka-setting '{setting}' is not name=value.", out error);
            }

            settings[setting[..equals]] = setting[(equals + 1)..];
        }

        TopicPlace from = default;
        TopicPlace to = default;
        foreach (var option in (Option<string?>[])[_from, _to])
        {
            if (parsed.GetValue(option) is not { } text)
            {
                continue;
            }

            if (!TopicPlace.TryParse(text, out var place))
            {
                return Refuse($"{option.Name} '{text}' is neither offset:NUMBER nor a time like 2025-06-01T12:00:00Z.", out error);
            }

            (from, to) = option == _from ? (place, to) : (from, place);
        }

        return new TopicSource(servers, topic, settings) { From = from, To = to };
    }

    private static ILedgerSource? Refuse(string text, out string error)
    {
        error = text;
        return null;
    }
}

/// <summary>What became of a topic's partitions at one worker of a group.</summary>
/// <param name="Finished">Done here: what the worker tells is of these.</param>
/// <param name="AlreadyDone">Done before, by this or another worker.</param>
/// <param name="Lost">Taken away before their end, and in nothing that the worker tells.</param>
internal sealed record GroupShare(IReadOnlyCollection<int> Finished, IReadOnlyCollection<int> AlreadyDone, IReadOnlyCollection<int> Lost)
{
    public override string ToString() =>
        $"partitions [{string.Join(' ', Finished)}] done here, [{string.Join(' ', AlreadyDone)}] before, [{string.Join(' ', Lost)}] taken over by others";

    /// <summary>As a member <c>partitions</c>.</summary>
    public void Write(Utf8JsonWriter json, string finished)
    {
        json.WriteStartObject("partitions");
        foreach (var (name, numbers) in new[] { (finished, Finished), ("already_" + finished, AlreadyDone), ("lost", Lost) })
        {
            json.WriteStartArray(name);
            foreach (var number in numbers)
            {
                json.WriteNumberValue(number);
            }

            json.WriteEndArray();
        }

        json.WriteEndObject();
    }
}
