using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace SafetyFilter.Policy;

/// <summary>Reads typed values out of <see cref="YamlNode"/>s. What does not fit is reported and read as null.</summary>
internal sealed partial class YamlReader(PolicyErrors errors)
{
    public PolicyErrors Errors => errors;

    public static string Describe(YamlNode node) => node switch
    {
        YamlText { IsNull: true } => "nothing",
        YamlText text => $"'{text.Value}'",
        YamlList => "a list",
        _ => "a mapping",
    };

    public static string Written(YamlNode node) => node is YamlText { IsNull: false } text ? text.Value : "";

    public YamlMap? Map(YamlNode node, string what, string remedy)
    {
        if (node is YamlMap map)
        {
            return map;
        }

        errors.Add(node.At, Written(node), $"{what} is {Describe(node)}, not a mapping", remedy);
        return null;
    }

    /// <summary>The items of a list that must have some.</summary>
    public List<YamlNode> Items(YamlNode node, string what, string remedy)
    {
        if (node is YamlList { Items.Count: > 0 } list)
        {
            return list.Items;
        }

        errors.Add(node.At, Written(node), node is YamlList ? $"{what} is empty" : $"{what} is {Describe(node)}, not a list", remedy);
        return [];
    }

    public void CheckKeys(YamlMap map, string what, params string[] known)
    {
        foreach (var (key, value) in map.Entries)
        {
            if (known.Contains(key.Value, StringComparer.Ordinal))
            {
                continue;
            }

            // In `{ at_least: 0,92 }` YAML sees at_least: 0 and a key 92.
            var comma = value is YamlText { IsNull: true } && key.Value.All(char.IsAsciiDigit);
            errors.Add(
                key.At,
                key.Value,
                $"unknown key '{key.Value}' in {what}",
                comma ? "If this is a decimal comma, write a point." : Suggestion.For(key.Value, known));
        }
    }

    public YamlNode? Required(YamlMap map, string key, string what, string remedy)
    {
        var node = map.Find(key);
        if (node is null)
        {
            errors.Add(map.At, "", $"{what} has no '{key}'", remedy);
        }

        return node;
    }

    /// <summary>Any text without control characters, at most <paramref name="maxBytes"/> long; empty only in quotes.</summary>
    public string? Text(YamlNode node, string what, int maxBytes, bool mayBeEmpty = false)
    {
        if (node is not YamlText { IsNull: false } text)
        {
            errors.Add(node.At, "", $"{what} is {Describe(node)}, not text", "Write it as text, in quotes where YAML needs them.");
            return null;
        }

        var bytes = Encoding.UTF8.GetByteCount(text.Value);
        if (bytes == 0 && !mayBeEmpty)
        {
            errors.Add(node.At, "", $"{what} is empty", "Write it as text.");
        }
        else if (bytes > maxBytes)
        {
            errors.Add(node.At, text.Value, $"{what} '{Beginning(text.Value)}...' has {Number(bytes)} bytes, more than {Number(maxBytes)}", "Shorten it.");
        }
        else if (text.Value.EnumerateRunes().Any(rune => Rune.IsControl(rune) || rune == Rune.ReplacementChar))
        {
            errors.Add(node.At, text.Value, $"{what} holds a control or replacement character or half a surrogate pair", "Write it on one line in plain text.");
        }
        else
        {
            return text.Value;
        }

        return null;
    }

    /// <summary>A name: letters, digits and <c>. _ - : +</c>, at most 64 of them.</summary>
    public string? Name(YamlNode node, string what)
    {
        var text = Text(node, what, 64);
        return text is null || NamePattern().IsMatch(text)
            ? text
            : Refuse<string>(node, $"{what} '{text}' is not a name", "Use letters, digits and . _ - : + without spaces.");
    }

    public T? OneOf<T>(YamlNode node, string what, params (string Name, T Value)[] known)
        where T : struct
    {
        foreach (var (name, value) in known)
        {
            if (node is YamlText text && text.Value == name)
            {
                return value;
            }
        }

        var closest = Suggestion.Closest(Written(node), known.Select(k => k.Name));
        var all = $"Use one of: {string.Join(", ", known.Select(k => k.Name))}.";
        errors.Add(node.At, Written(node), $"{what} is {Describe(node)}", closest is null ? all : $"Did you mean '{closest}'? {all}");
        return null;
    }

    /// <summary>A finite number, written plainly with a decimal point.</summary>
    public double? Number(YamlNode node, string what)
    {
        if (node is YamlText { Plain: true } text && NumberPattern().IsMatch(text.Value))
        {
            var number = double.Parse(text.Value, NumberStyles.Float, CultureInfo.InvariantCulture);
            if (double.IsFinite(number))
            {
                return number + 0.0; // -0 becomes 0: one value, one canonical form.
            }
        }

        errors.Add(node.At, Written(node), $"{what} is {Describe(node)}, not a number", "Write digits with a decimal point and without quotes, e.g. 0.92.");
        return null;
    }

    public int? Integer(YamlNode node, string what, int min, int max)
    {
        if (node is YamlText { Plain: true } text && text.Value.Length is > 0 and < 10 && text.Value.All(char.IsAsciiDigit))
        {
            var number = int.Parse(text.Value, CultureInfo.InvariantCulture);
            if (number >= min && number <= max)
            {
                return number;
            }
        }

        errors.Add(node.At, Written(node), $"{what} is {Describe(node)}", $"Use a whole number from {Number(min)} to {Number(max)}.");
        return null;
    }

    public bool? Flag(YamlNode node, string what) =>
        node is YamlText { Plain: true, Value: "true" } ? true
        : node is YamlText { Plain: true, Value: "false" } ? false
        : RefuseFlag(node, what);

    /// <summary>
    /// The first instant that is past it, in Unix milliseconds: a date holds until the end of that day in UTC, an RFC 3339 instant
    /// until that instant.
    /// </summary>
    public long? Expiry(YamlNode node, string what)
    {
        if (node is YamlText { IsNull: false } text)
        {
            if (DateTime.TryParseExact(
                text.Value, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var day)
                && day.Year is >= 2000 and < 9999)
            {
                return new DateTimeOffset(day).AddDays(1).ToUnixTimeMilliseconds();
            }

            if (InstantPattern().IsMatch(text.Value)
                && DateTimeOffset.TryParseExact(
                    text.Value, "yyyy-MM-dd'T'HH:mm:ss.FFFK", CultureInfo.InvariantCulture, DateTimeStyles.None, out var instant)
                && instant.Year is >= 2000 and < 9999)
            {
                return instant.ToUnixTimeMilliseconds();
            }
        }

        errors.Add(node.At, Written(node), $"{what} is {Describe(node)}, not a date", "Write a day as 2027-12-31 or an instant as 2027-12-31T18:00:00Z.");
        return null;
    }

    public static bool LooksLikeNumber(YamlText text) => text.Plain && NumberPattern().IsMatch(text.Value);

    public static bool LooksLikeFlag(YamlText text) => text is { Plain: true, Value: "true" or "false" };

    public T? Refuse<T>(YamlNode node, string problem, string remedy)
        where T : class
    {
        errors.Add(node.At, Written(node), problem, remedy);
        return null;
    }

    private bool? RefuseFlag(YamlNode node, string what)
    {
        errors.Add(node.At, Written(node), $"{what} is {Describe(node)}", "Use true or false.");
        return null;
    }

    // Whole characters only: half a surrogate pair would spoil the line that the error is printed on.
    private static string Beginning(string text)
    {
        var length = Math.Min(16, text.Length);
        return length > 0 && char.IsHighSurrogate(text[length - 1]) ? text[..(length - 1)] : text[..length];
    }

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^[A-Za-z0-9][A-Za-z0-9._:+\-]*\z", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex NamePattern();

    [GeneratedRegex(@"^[+\-]?[0-9]*\.?[0-9]+([eE][+\-]?[0-9]{1,3})?\z", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex NumberPattern();

    [GeneratedRegex(@"(Z|[+\-][0-9]{2}:[0-9]{2})\z", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex InstantPattern();
}
