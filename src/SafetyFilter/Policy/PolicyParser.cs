using System.Globalization;
using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>Reads the documents of a policy file into <see cref="PolicyConfig"/>s, reporting whatever is wrong key by key.</summary>
internal sealed class PolicyParser
{
    public const string Schema = "safetyfilter.policy/1";
    public const int DefaultBudgetMicros = 1000;
    public const string DefaultBreakerGroup = "default";
    public const string DefaultPurpose = "recommendation";
    public const Severity DefaultSeverity = Severity.Medium;
    public const int MaxRules = 1000;
    public const int MaxClassifiers = 64;
    public const int DefaultPriority = 100;

    private readonly PolicyErrors _errors;
    private readonly YamlReader _reader;
    private readonly ConditionParser _conditions;

    private PolicyParser(PolicyErrors errors)
    {
        _errors = errors;
        _reader = new YamlReader(errors);
        _conditions = new ConditionParser(_reader);
    }

    /// <summary>All policies of a file. Those that could not even be started with are absent from the list, but not from the errors.</summary>
    public static (List<PolicyConfig> Policies, List<PolicyErrors> Errors) Parse(PolicySource source)
    {
        var policies = new List<PolicyConfig>();
        var allErrors = new List<PolicyErrors>();
        foreach (var (root, errors) in YamlTree.Read(source))
        {
            allErrors.Add(errors);
            if (root is null)
            {
                errors.Owner = OwnerByEye(source.Text);
            }
            else if (root is YamlMap map)
            {
                policies.Add(new PolicyParser(errors).ReadPolicy(map, source.Name));
            }
            else
            {
                errors.Add(root.At, "", $"a policy is {YamlReader.Describe(root)}, not a mapping", "Start with 'policy: <name>', or remove the empty document.");
            }
        }

        if (allErrors.Count == 0)
        {
            var errors = new PolicyErrors(source.Name);
            errors.Add(new Position(1, 1), "", "the file holds no policy", "Start with 'policy: <name>', or remove the file.");
            allErrors.Add(errors);
        }

        return (policies, allErrors);
    }

    private PolicyConfig ReadPolicy(YamlMap map, string file)
    {
        // First, so that every error of this policy can name the owner.
        var owner = _reader.Required(map, "owner", "the policy", "Name the team that answers for it.") is { } node ? _reader.Text(node, "'owner'", 128) ?? "" : "";
        _errors.Owner = owner;
        _reader.CheckKeys(map, "a policy", "schema", "policy", "owner", "surfaces", "purposes", "match", "budget_us", "priority", "overload", "breaker_group", "all_down", "verdict_cache", "classifiers", "rules", "record");
        if (map.Find("schema") is { } schema && YamlReader.Written(schema) != Schema)
        {
            _errors.Add(schema.At, YamlReader.Written(schema), $"'schema' is {YamlReader.Describe(schema)}", $"This version reads '{Schema}'.");
        }

        return new PolicyConfig
        {
            Errors = _errors,
            File = file,
            At = map.At,
            Name = RequiredName(map, "policy", "Give it a name that is unique among all policies."),
            Owner = owner,
            Surfaces = Names(map, "surfaces", "surface") ?? Missing(map, "surfaces", "List where it applies, e.g. surfaces: [for-you]."),
            Purposes = Names(map, "purposes", "purpose") ?? [new Located<string>(DefaultPurpose, map.At)],
            Match = map.Find("match") is { } match ? _reader.OneOf(match, "'match'", ("strongest", MatchMode.Strongest), ("first", MatchMode.First)) ?? default : default,
            BudgetMicros = map.Find("budget_us") is { } budget ? _reader.Integer(budget, "'budget_us'", 50, 1_000_000) ?? 0 : DefaultBudgetMicros,
            BreakerGroup = map.Find("breaker_group") is { } group ? _reader.Name(group, "'breaker_group'") ?? "" : DefaultBreakerGroup,
            AllDown = map.Find("all_down") is { } down ? new Located<AllDownMode>(ReadAllDown(down), down.At) : default,
            Priority = map.Find("priority") is { } priority
                ? _reader.OneOf(priority, "'priority'", ("high", SurfacePriority.High), ("normal", SurfacePriority.Normal), ("low", SurfacePriority.Low)) ?? SurfacePriority.Normal
                : SurfacePriority.Normal,
            ServesWhenShed = map.Find("overload") is { } overload && (_reader.OneOf(overload, "'overload'", ("refuse", false), ("fail-mode", true)) ?? false),
            UsesVerdictCache = map.Find("verdict_cache") is { } cache && (_reader.OneOf(cache, "'verdict_cache'", ("off", false), ("on", true)) ?? false),
            Classifiers = ReadClassifiers(map),
            Rules = ReadRules(map),
            Record = map.Find("record") is { } record ? new RecordParser(_reader).Read(record) : RecordConfig.Default,
        };
    }

    private Located<string> RequiredName(YamlMap map, string key, string remedy) =>
        _reader.Required(map, key, "the policy", remedy) is { } node ? new Located<string>(_reader.Name(node, $"'{key}'") ?? "", node.At) : default;

    private List<Located<string>> Missing(YamlMap map, string key, string remedy)
    {
        _errors.Add(map.At, "", $"the policy has no '{key}'", remedy);
        return [];
    }

    private List<Located<string>>? Names(YamlMap map, string key, string singular)
    {
        if (map.Find(key) is not { } node)
        {
            return null;
        }

        var names = new List<Located<string>>();
        foreach (var item in _reader.Items(node, $"'{key}'", $"Write a list with at least one {singular}, e.g. {key}: [x]."))
        {
            if (_reader.Name(item, singular) is { } name)
            {
                if (names.Exists(other => other.Value == name))
                {
                    _errors.Add(item.At, name, $"{singular} '{name}' is listed twice", "Keep one of them.");
                    continue;
                }

                names.Add(new Located<string>(name, item.At));
            }
        }

        return names;
    }

    private List<ClassifierConfig> ReadClassifiers(YamlMap policy)
    {
        const string Remedy = "Write each classifier with its fail mode, e.g. text-safety/hate: { fail: closed }.";
        var classifiers = new List<ClassifierConfig>();
        if (_reader.Required(policy, "classifiers", "the policy", Remedy) is not { } node || _reader.Map(node, "'classifiers'", Remedy) is not { } map)
        {
            return classifiers;
        }

        if (map.Entries.Count > MaxClassifiers)
        {
            _errors.Add(map.At, "", $"the policy has {Text(map.Entries.Count)} classifiers, more than {Text(MaxClassifiers)}", "Split it by surface.");
        }

        foreach (var (key, value) in map.Entries)
        {
            _conditions.CheckClassifierForm(key);
            if (_reader.Map(value, $"classifier '{key.Value}'", $"Write {key.Value}: {{ fail: closed }}.") is not { } settings)
            {
                continue;
            }

            _reader.CheckKeys(settings, "a classifier", "fail", "hard", "priority");
            var fail = _reader.Required(
                settings, "fail", $"classifier '{key.Value}'", "Say what a missing score means: fail: closed (as 1), fail: open (as 0) or fail: { last-known: closed }.");
            var (mode, missing) = fail is null ? (FailMode.Closed, FailMode.Closed) : ReadFail(fail);
            var hard = settings.Find("hard") is { } flag ? new Located<bool>(_reader.Flag(flag, "'hard'") ?? false, flag.At) : default;
            var priority = settings.Find("priority") is { } order ? _reader.Integer(order, "'priority'", 0, 1000) : null;
            classifiers.Add(new ClassifierConfig(new Located<string>(key.Value, key.At), mode, missing, hard, priority ?? DefaultPriority));
        }

        return classifiers;
    }

    private (FailMode Mode, FailMode Missing) ReadFail(YamlNode node)
    {
        if (node is YamlMap map)
        {
            _reader.CheckKeys(map, "'fail'", "last-known");
            var otherwise = _reader.Required(map, "last-known", "'fail'", "Write fail: { last-known: closed } or fail: { last-known: open }.");
            var rest = otherwise is null ? null : _reader.OneOf(otherwise, "'last-known'", ("closed", FailMode.Closed), ("open", FailMode.Open));
            return (FailMode.LastKnown, rest ?? FailMode.Closed);
        }

        var mode = _reader.OneOf(node, "'fail'", ("closed", FailMode.Closed), ("open", FailMode.Open), ("last-known", FailMode.LastKnown)) ?? FailMode.Closed;
        if (mode != FailMode.LastKnown)
        {
            return (mode, mode);
        }

        _errors.Add(
            node.At, "last-known", "fail: last-known does not say what a missing score means where none is remembered", "Write fail: { last-known: closed } or fail: { last-known: open }.");
        return (FailMode.Closed, FailMode.Closed);
    }

    private AllDownMode ReadAllDown(YamlNode node) => _reader.OneOf(
        node,
        "'all_down'",
        ("classifiers", AllDownMode.Classifiers),
        ("block", AllDownMode.Block),
        ("allow", AllDownMode.Allow),
        ("refuse", AllDownMode.Refuse)) ?? default;

    private List<RuleConfig> ReadRules(YamlMap policy)
    {
        const string Remedy = "Write at least one rule with id, when, action and reason.";
        var rules = new List<RuleConfig>();
        if (_reader.Required(policy, "rules", "the policy", Remedy) is not { } node)
        {
            return rules;
        }

        var items = _reader.Items(node, "'rules'", Remedy);
        if (items.Count > MaxRules)
        {
            _errors.Add(node.At, "", $"the policy has {Text(items.Count)} rules, more than {Text(MaxRules)}", "Split it by surface.");
        }

        foreach (var item in items)
        {
            if (_reader.Map(item, "a rule", Remedy) is { } map)
            {
                rules.Add(ReadRule(map));
            }
        }

        return rules;
    }

    private RuleConfig ReadRule(YamlMap map)
    {
        var id = map.Find("id") is { } idNode ? new Located<string>(_reader.Name(idNode, "'id'") ?? "", idNode.At) : default;
        var what = string.IsNullOrEmpty(id.Value) ? "the rule" : $"rule '{id.Value}'";
        _reader.CheckKeys(map, "a rule", "id", "when", "action", "reason", "severity", "expires", "shadow");
        if (id == default)
        {
            _errors.Add(map.At, "", "the rule has no 'id'", "Give it an id that is unique in its policy: records name rules by it.");
        }
        else if (id.Value == SurfacePolicy.DefaultRuleId)
        {
            _errors.Add(id.At, id.Value, $"rule id '{id.Value}' is what records call 'no rule matched'", "Choose another id.");
        }

        var when = _reader.Required(map, "when", what, "Say when it matches, or write when: { always: true }.");
        var action = _reader.Required(map, "action", what, "Use block, { demote: 0.5 }, { age-restrict: 18 }, { label: text } or allow.");
        var reason = _reader.Required(map, "reason", what, "Give the reason code that answers and records carry, e.g. HATE.");
        var parsed = action is null ? default : ReadAction(action);
        return new RuleConfig
        {
            Id = id,
            When = when is null ? new UnreadableConfig(map.At) : _conditions.Read(when),
            Action = new Located<CandidateAction>(parsed.Action, action?.At ?? map.At),
            DemoteFactor = parsed.Factor,
            Label = parsed.Label ?? "",
            MinimumAge = parsed.Age,
            Reason = reason is null ? "" : ReadReason(reason),
            Severity = map.Find("severity") is { } severity
                ? _reader.OneOf(severity, "'severity'", ("low", Severity.Low), ("medium", Severity.Medium), ("high", Severity.High), ("critical", Severity.Critical)) ?? default
                : DefaultSeverity,
            Expires = map.Find("expires") is { } expires ? _reader.Expiry(expires, "'expires'") ?? 0 : long.MaxValue,
            Shadow = map.Find("shadow") is { } shadow && (_reader.Flag(shadow, "'shadow'") ?? false),
        };
    }

    private (CandidateAction Action, float Factor, string? Label, int Age) ReadAction(YamlNode node)
    {
        var (key, parameter) = node switch
        {
            YamlText text => (text, null),
            YamlMap { Entries: [var only] } => (only.Key, only.Value),
            _ => ((YamlText?)null, (YamlNode?)null),
        };
        if (key is null)
        {
            _errors.Add(node.At, "", "an action is one word or one word with its parameter", "Write e.g. action: block or action: { demote: 0.4 }.");
            return default;
        }

        var action = _reader.OneOf(
            key,
            "the action",
            ("allow", CandidateAction.Allow),
            ("label", CandidateAction.Label),
            ("age-restrict", CandidateAction.AgeRestrict),
            ("demote", CandidateAction.Demote),
            ("block", CandidateAction.Block));
        switch (action)
        {
            case CandidateAction.Allow or CandidateAction.Block when parameter is not null:
                _errors.Add(parameter.At, YamlReader.Written(parameter), $"action '{key.Value}' takes no parameter", $"Write action: {key.Value}.");
                return default;
            case CandidateAction.Label or CandidateAction.AgeRestrict or CandidateAction.Demote when parameter is null:
                var (missing, example) = action switch
                {
                    CandidateAction.Label => ("text", "{ label: clickbait }"),
                    CandidateAction.AgeRestrict => ("minimum age", "{ age-restrict: 18 }"),
                    _ => ("factor", "{ demote: 0.4 }"),
                };
                _errors.Add(key.At, key.Value, $"action '{key.Value}' has no {missing}", $"Write action: {example}.");
                return default;
            case CandidateAction.Label:
                return _reader.Text(parameter!, "the label", 64) is { } label ? (CandidateAction.Label, 0, label, 0) : default;
            case CandidateAction.AgeRestrict:
                return _reader.Integer(parameter!, "the minimum age", 1, 120) is { } age ? (CandidateAction.AgeRestrict, 0, null, age) : default;
            case CandidateAction.Demote:
                if (_reader.Number(parameter!, "the demote factor") is not { } number)
                {
                    return default;
                }

                var factor = (float)number;
                if (factor is > 0 and < 1)
                {
                    return (CandidateAction.Demote, factor, null, 0);
                }

                _errors.Add(parameter!.At, YamlReader.Written(parameter), $"demote factor {YamlReader.Written(parameter)} is not between 0 and 1", "The ranking score is multiplied by it; to remove a candidate use block.");
                return default;
            default:
                return (action ?? default, 0, null, 0);
        }
    }

    private string ReadReason(YamlNode node)
    {
        var reason = _reader.Text(node, "'reason'", 64) ?? "";
        if (reason.Length > 0 && !(char.IsAsciiLetterUpper(reason[0]) && reason.All(c => char.IsAsciiLetterUpper(c) || char.IsAsciiDigit(c) || c == '_')))
        {
            _errors.Add(node.At, reason, $"reason '{reason}' is not a code", "Use upper-case letters, digits and underscores, e.g. HATE_SPEECH.");
        }

        return reason;
    }

    // A file that YAML cannot read still has an owner whom its error should reach.
    private static string OwnerByEye(string text)
    {
        var owner = "";
        foreach (var line in text.AsSpan().EnumerateLines())
        {
            if (line.StartsWith("owner:", StringComparison.Ordinal))
            {
                owner = line["owner:".Length..].Trim().Trim("\"'").ToString();
            }
        }

        return owner;
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}
