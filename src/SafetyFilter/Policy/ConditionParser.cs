using System.Globalization;
using System.Text.RegularExpressions;

namespace SafetyFilter.Policy;

/// <summary>Reads what stands under a rule's `when`.</summary>
internal sealed partial class ConditionParser(YamlReader reader)
{
    private const int MaxDepth = 16;
    private const int MaxValues = 1000;
    private const string Kinds = "score, attribute, language, viewer, all, any, not or always";

    private static readonly string[] KindKeys = ["score", "attribute", "language", "viewer", "all", "any", "not", "always"];
    private static readonly string[] BoundKeys = ["at_least", "above", "below", "at_most"];

    public ConditionConfig Read(YamlNode node) => Read(node, 1);

    public void CheckClassifierForm(YamlText name)
    {
        if (name.Value.Length > 128 || !ClassifierPattern().IsMatch(name.Value))
        {
            reader.Errors.Add(name.At, name.Value, $"'{name.Value}' is not a classifier", "Write bundle/label, e.g. text-safety/hate.");
        }
    }

    private ConditionConfig Read(YamlNode node, int depth)
    {
        var nothing = new UnreadableConfig(node.At);
        if (depth > MaxDepth)
        {
            reader.Errors.Add(node.At, "", "conditions are nested more than 16 deep", "Split the rule.");
            return nothing;
        }

        if (reader.Map(node, "a condition", $"Write a mapping with one of {Kinds}; combine several under all: or any:.") is not { } map)
        {
            return nothing;
        }

        var kinds = map.Entries.Where(entry => KindKeys.Contains(entry.Key.Value)).ToList();
        if (kinds.Count > 1)
        {
            reader.Errors.Add(
                kinds[1].Key.At, kinds[1].Key.Value, $"a condition has both '{kinds[0].Key.Value}' and '{kinds[1].Key.Value}'", "Put each into its own mapping under all: or any:.");
            return nothing;
        }

        if (kinds.Count == 0)
        {
            var (key, _) = map.Entries.FirstOrDefault();
            var written = key?.Value ?? "";
            var closest = Suggestion.Closest(written, KindKeys);
            reader.Errors.Add(
                key?.At ?? map.At,
                written,
                key is null ? "a condition is empty" : $"'{written}' does not begin a condition",
                closest is null ? $"Write one of {Kinds}." : $"Did you mean '{closest}'?");
            return nothing;
        }

        var (kind, value) = kinds[0];
        switch (kind.Value)
        {
            case "score":
                reader.CheckKeys(map, "a score condition", ["score", .. BoundKeys]);
                return ReadScore(map, value);
            case "attribute":
                reader.CheckKeys(map, "an attribute condition", ["attribute", "in", "equals", "is", .. BoundKeys]);
                return ReadAttribute(map, value) ?? nothing;
            case "language":
                reader.CheckKeys(map, "a language condition", "language");
                return new LanguageConfig(node.At, Values(value, "'language'", item => Language(item)));
            case "viewer":
                reader.CheckKeys(map, "a viewer condition", "viewer", "in", "equals");
                return ReadViewer(map, value);
            case "not":
                reader.CheckKeys(map, "a 'not' condition", "not");
                return new NotConfig(node.At, Read(value, depth + 1));
            case "always":
                reader.CheckKeys(map, "an 'always' condition", "always");
                if (reader.Flag(value, "'always'") is not { } always)
                {
                    return nothing;
                }

                if (!always)
                {
                    reader.Errors.Add(value.At, "false", "'always: false' never matches", "Remove the rule, or rehearse it with shadow: true.");
                }

                return new AlwaysConfig(node.At);
            default:
                reader.CheckKeys(map, $"an '{kind.Value}' condition", kind.Value);
                var items = reader.Items(value, $"'{kind.Value}'", "List at least one condition, each behind a dash.");
                var conditions = items.ConvertAll(item => Read(item, depth + 1));
                return kind.Value == "all" ? new AllConfig(node.At, conditions) : new AnyConfig(node.At, conditions);
        }
    }

    private ScoreConfig ReadScore(YamlMap map, YamlNode name)
    {
        var classifier = reader.Text(name, "'score'", 128) ?? "";
        if (classifier.Length > 0)
        {
            CheckClassifierForm((YamlText)name);
        }

        return new ScoreConfig(map.At, new Located<string>(classifier, name.At), ReadBounds(map, $"'{classifier}'", isScore: true));
    }

    private ConditionConfig? ReadAttribute(YamlMap map, YamlNode nameNode)
    {
        var name = reader.Text(nameNode, "'attribute'", 64) ?? "";
        if (name == "language")
        {
            // Records keep the languages under this name; an attribute of the same name could not be told from them.
            reader.Errors.Add(nameNode.At, name, "'language' is not an attribute", "Use language: [...], or give the attribute another name.");
        }

        var used = map.Entries.Where(entry => entry.Key.Value is "in" or "equals" or "is").Select(entry => entry.Key).ToList();
        var compares = map.Entries.Exists(entry => BoundKeys.Contains(entry.Key.Value));
        if (used.Count + (compares ? 1 : 0) != 1)
        {
            reader.Errors.Add(
                map.At,
                name,
                used.Count == 0 ? $"attribute '{name}' is compared with nothing" : $"attribute '{name}' is compared in more than one way",
                "Use one of in: [...] or equals (text), is (true or false), or at_least, above, below, at_most (numbers).");
            return null;
        }

        if (compares)
        {
            return new AttributeNumberConfig(map.At, name, ReadBounds(map, $"attribute '{name}'", isScore: false));
        }

        return used[0].Value == "is"
            ? new AttributeFlagConfig(map.At, name, reader.Flag(map.Find("is")!, "'is'") ?? false)
            : new AttributeInConfig(map.At, name, InOrEquals(map, item => AttributeText(item)));
    }

    private ViewerConfig ReadViewer(YamlMap map, YamlNode fieldNode)
    {
        var field = reader.OneOf(
            fieldNode, "the viewer field", ("territory", ViewerField.Territory), ("age_band", ViewerField.AgeBand), ("experiment", ViewerField.Experiment));
        if (map.Find("in") is null == map.Find("equals") is null)
        {
            reader.Errors.Add(map.At, YamlReader.Written(fieldNode), "a viewer condition needs either 'in' or 'equals'", "Write e.g. { viewer: territory, in: [DE, AT] }.");
            return new ViewerConfig(map.At, default, []);
        }

        return new ViewerConfig(map.At, field ?? default, InOrEquals(map, item => ViewerText(item, field)));
    }

    private List<string> InOrEquals(YamlMap map, Func<YamlNode, string?> read) => map.Find("equals") is { } single
        ? read(single) is { } value ? [value] : []
        : Values(map.Find("in")!, "'in'", read);

    private List<string> Values(YamlNode node, string what, Func<YamlNode, string?> read)
    {
        var items = reader.Items(node, what, "List at least one value in [brackets].");
        if (items.Count > MaxValues)
        {
            reader.Errors.Add(node.At, "", $"{what} lists more than 1000 values", "Let the caller send a flag instead.");
        }

        var values = new HashSet<string>(StringComparer.Ordinal);
        foreach (var item in items)
        {
            if (read(item) is { } value && !values.Add(value))
            {
                reader.Errors.Add(item.At, value, $"'{value}' is listed twice", "Keep one of them.");
            }
        }

        return [.. values.Order(StringComparer.Ordinal)];
    }

    private string? AttributeText(YamlNode node)
    {
        // An attribute of numbers or flags never equals a text, so a bare 3 or true here would silently never match.
        if (node is YamlText text && (YamlReader.LooksLikeNumber(text) || YamlReader.LooksLikeFlag(text)))
        {
            return reader.Refuse<string>(
                node,
                $"'{text.Value}' is compared as text",
                YamlReader.LooksLikeFlag(text) ? "Use is: for flags, or put the text in quotes." : "Use at_least and at_most for numbers, or put the text in quotes.");
        }

        return reader.Text(node, "the value", 256, mayBeEmpty: true);
    }

    private string? ViewerText(YamlNode node, ViewerField? field)
    {
        var text = reader.Text(node, "the value", field == ViewerField.AgeBand ? 32 : 64, mayBeEmpty: true);
        return field != ViewerField.Territory || text is null or "" || (text.Length == 2 && text.All(char.IsAsciiLetterUpper))
            ? text
            : reader.Refuse<string>(node, $"'{text}' is not a territory", "Use two upper-case letters of ISO 3166-1, e.g. DE, or \"\" for unknown.");
    }

    private string? Language(YamlNode node)
    {
        var text = reader.Text(node, "the language", 35, mayBeEmpty: true);
        return text is null or "" || LanguagePattern().IsMatch(text)
            ? text?.ToLowerInvariant()
            : reader.Refuse<string>(node, $"'{text}' is not a language", "Use a BCP 47 tag such as en or pt-BR, or \"\" for unknown.");
    }

    private Bounds ReadBounds(YamlMap map, string what, bool isScore)
    {
        var atLeast = Bound(map, "at_least", what, isScore);
        var above = Bound(map, "above", what, isScore);
        var below = Bound(map, "below", what, isScore);
        var atMost = Bound(map, "at_most", what, isScore);
        foreach (var (one, other) in new[] { ("at_least", "above"), ("at_most", "below") })
        {
            if (map.Find(one) is { } first && map.Find(other) is not null)
            {
                reader.Errors.Add(first.At, "", $"{what} has both '{one}' and '{other}'", "Keep one of them.");
            }
        }

        if (!map.Entries.Exists(entry => BoundKeys.Contains(entry.Key.Value)))
        {
            reader.Errors.Add(map.At, "", $"{what} is compared with nothing", "Give a threshold with at_least, above, below or at_most.");
        }

        var bounds = new Bounds(above ?? atLeast, above is not null, below ?? atMost, below is not null);
        if (isScore)
        {
            CheckScoreRange(map, what, bounds);
        }
        else if (bounds is { Low: { } low, High: { } high } && (low > high || (low == high && (bounds.LowIsExclusive || bounds.HighIsExclusive))))
        {
            reader.Errors.Add(map.At, "", $"no number lies within the bounds for {what}", "Swap or widen them.");
        }

        return bounds;
    }

    private void CheckScoreRange(YamlMap map, string what, Bounds bounds)
    {
        var test = ScoreTest.From(bounds);
        if (test.Low > test.High)
        {
            reader.Errors.Add(map.At, "", $"no score lies within the bounds for {what}", "Swap or widen them.");
        }
        else if (test is { Low: <= 0, High: >= 1 } && (bounds.Low ?? bounds.High) is not null)
        {
            reader.Errors.Add(map.At, "", $"every score lies within the bounds for {what}", "Choose a threshold that divides, or write always: true.");
        }
    }

    private double? Bound(YamlMap map, string key, string what, bool isScore)
    {
        if (map.Find(key) is not { } node || reader.Number(node, $"'{key}'") is not { } number)
        {
            return null;
        }

        if (!isScore)
        {
            return number;
        }

        if (number is >= 0 and <= 1)
        {
            return (float)number;
        }

        reader.Errors.Add(node.At, YamlReader.Written(node), $"threshold {YamlReader.Written(node)} for {what} is outside 0..1", "Use a probability.");
        return null;
    }

    [GeneratedRegex(@"^[A-Za-z0-9][A-Za-z0-9._\-]*/[A-Za-z0-9][A-Za-z0-9._\-]*\z", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex ClassifierPattern();

    [GeneratedRegex(@"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*\z", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex LanguagePattern();
}
