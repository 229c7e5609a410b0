using System.Collections.Immutable;
using System.Text.Json;

namespace SafetyFilter.Scoring;

/// <summary>Collects what is wrong with one JSON file of a bundle, so that its author sees everything at once.</summary>
internal sealed class JsonFaults(string bundle, string file, List<BundleError> errors)
{
    public void Add(string path, string problem) => errors.Add(new BundleError(bundle, file, path, problem));
}

/// <summary>
/// A place in a JSON file that knows its path. Its readers report a missing or unfit value with path, value and remedy
/// and then return a harmless one, so that reading goes on and finds the next fault.
/// </summary>
internal readonly struct JsonField(JsonElement? element, string path, JsonFaults faults)
{
    public bool Exists => element is not null;

    /// <summary>The value itself; of kind Undefined when it does not exist.</summary>
    public JsonElement Element => element ?? default;

    public JsonValueKind Kind => element?.ValueKind ?? JsonValueKind.Undefined;

    /// <summary>A member, which need not exist.</summary>
    public JsonField this[string name]
    {
        get
        {
            JsonElement? member = element is { ValueKind: JsonValueKind.Object } node && node.TryGetProperty(name, out var found) ? found : null;
            return new JsonField(member, $"{path}.{name}", faults);
        }
    }

    /// <summary>Members of an object, in the order written; reports when it is missing or no object.</summary>
    public IEnumerable<(string Name, JsonField Value)> Members(string remedy)
    {
        if (!Is(JsonValueKind.Object, "an object", remedy))
        {
            yield break;
        }

        foreach (var member in element!.Value.EnumerateObject())
        {
            yield return (member.Name, new JsonField(member.Value, $"{path}.{member.Name}", faults));
        }
    }

    /// <summary>Elements of an array; reports when it is missing or no array.</summary>
    public IEnumerable<JsonField> Items(string remedy)
    {
        if (!Is(JsonValueKind.Array, "an array", remedy))
        {
            yield break;
        }

        var index = 0;
        foreach (var item in element!.Value.EnumerateArray())
        {
            yield return new JsonField(item, $"{path}[{index++}]", faults);
        }
    }

    public string Text(string remedy)
    {
        if (!Is(JsonValueKind.String, "a string", remedy))
        {
            return "";
        }

        var text = element!.Value.GetString()!;
        if (text.Length == 0)
        {
            Report("'' is empty.", remedy);
        }

        return text;
    }

    public ImmutableArray<string> Texts(string remedy)
    {
        var texts = ImmutableArray.CreateBuilder<string>();
        foreach (var item in Items(remedy))
        {
            texts.Add(item.Text(remedy));
        }

        return texts.ToImmutable();
    }

    public double Number(double least, double most, string remedy)
    {
        if (!Is(JsonValueKind.Number, "a number", remedy))
        {
            return least;
        }

        // GetDouble turns 1e999 into infinity; the range check refuses it.
        var number = element!.Value.GetDouble();
        if (number >= least && number <= most)
        {
            return number;
        }

        Report($"{element.Value.GetRawText()} is outside {least:R}..{most:R}.", remedy);
        return least;
    }

    public long Integer(long least, long most, string remedy)
    {
        if (!Is(JsonValueKind.Number, "a whole number", remedy))
        {
            return least;
        }

        if (element!.Value.TryGetInt64(out var number) && number >= least && number <= most)
        {
            return number;
        }

        Report($"{element.Value.GetRawText()} is not a whole number in {least}..{most}.", remedy);
        return least;
    }

    /// <summary>Reports a fault of this place: the value or its lack, and the remedy.</summary>
    public void Report(string problem, string remedy) => faults.Add(path, $"{problem} {remedy}");

    private bool Is(JsonValueKind kind, string noun, string remedy)
    {
        if (Kind == kind)
        {
            return true;
        }

        Report(element is { } node ? $"{Shorten(node.GetRawText())} is not {noun}." : "is missing.", remedy);
        return false;
    }

    private static string Shorten(string json) => json.Length <= 60 ? json : json[..60] + "...";
}
