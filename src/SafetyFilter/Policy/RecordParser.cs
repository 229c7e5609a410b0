using System.Collections.Immutable;
using System.Globalization;
using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>Reads a policy's <c>record:</c> block: how sure its records must be and what they may say of whom.</summary>
internal sealed class RecordParser(YamlReader reader)
{
    private static readonly string[] Keys = ["durability", "late", "full", "inputs", "hash", "mask", "seal"];

    private readonly Dictionary<string, (string List, int Line)> _treated = new(StringComparer.Ordinal);
    private readonly List<Located<string>> _attributes = [];

    public RecordConfig Read(YamlNode node)
    {
        if (reader.Map(node, "'record'", "Write e.g. record: { durability: process }, or remove it.") is not { } map)
        {
            return RecordConfig.Default;
        }

        reader.CheckKeys(map, "'record'", Keys);
        var inputs = map.Find("inputs");
        var terms = new RecordTerms
        {
            Durability = Word(map, "durability", ("memory", Durability.Memory), ("process", Durability.Process), ("disk", Durability.Disk)) ?? Durability.Process,
            RefuseWhenLate = Word(map, "late", ("pending", false), ("refuse", true)) ?? false,
            ServeWhenFull = Word(map, "full", ("refuse", false), ("serve", true)) ?? false,
            InputCapture = inputs is null ? 0 : ReadCapture(inputs),
            Hash = ReadPaths(map, "hash"),
            Mask = ReadPaths(map, "mask"),
            Seal = ReadPaths(map, "seal"),
        };
        CheckInputs(terms, inputs?.At ?? map.At);
        return new RecordConfig(terms, _attributes);
    }

    private T? Word<T>(YamlMap map, string key, params (string Name, T Value)[] known)
        where T : struct => map.Find(key) is { } node ? reader.OneOf(node, $"'{key}'", known) : null;

    private double ReadCapture(YamlNode node)
    {
        if (node is not YamlMap map)
        {
            return reader.OneOf(node, "'inputs'", ("digest", 0.0), ("full", 1.0)) ?? 0;
        }

        reader.CheckKeys(map, "'inputs'", "sampled");
        if (reader.Required(map, "sampled", "'inputs'", "Write inputs: digest, inputs: full or inputs: { sampled: 0.01 }.") is not { } rate
            || reader.Number(rate, "'sampled'") is not { } share)
        {
            return 0;
        }

        if (share is > 0 and < 1)
        {
            return share;
        }

        reader.Errors.Add(
            rate.At,
            YamlReader.Written(rate),
            $"share {YamlReader.Written(rate)} of sampled requests is not between 0 and 1",
            "Use inputs: full for all of them and inputs: digest for none.");
        return 0;
    }

    private ImmutableArray<string> ReadPaths(YamlMap map, string list)
    {
        if (map.Find(list) is not { } node)
        {
            return [];
        }

        if (node is not YamlList items)
        {
            reader.Errors.Add(node.At, YamlReader.Written(node), $"'{list}' is {YamlReader.Describe(node)}, not a list", $"Write it as a list, e.g. {list}: [request_id].");
            return [];
        }

        var paths = new List<string>();
        foreach (var item in items.Items)
        {
            if (reader.Text(item, "a path", 128) is { } path && IsPath(item, path, list) && IsFirst(item, path, list))
            {
                paths.Add(path);
            }
        }

        paths.Sort(StringComparer.Ordinal);
        return [.. paths];
    }

    private bool IsPath(YamlNode node, string path, string list)
    {
        var hashes = list == "hash";
        if (RecordPaths.Hashable.Contains(path) || (!hashes && RecordPaths.All.Contains(path)))
        {
            return true;
        }

        var name = path.StartsWith(RecordPaths.AttributePrefix, StringComparison.Ordinal) ? path[RecordPaths.AttributePrefix.Length..] : null;
        if (hashes && (name is not null || RecordPaths.All.Contains(path)))
        {
            reader.Errors.Add(node.At, path, $"'{path}' cannot be hashed: it is no identifier", $"Mask or seal it. Only these can be hashed: {string.Join(", ", RecordPaths.Hashable)}.");
            return false;
        }

        if (name is { Length: > 0 })
        {
            _attributes.Add(new Located<string>(name, node.At));
            return true;
        }

        var known = hashes ? RecordPaths.Hashable : RecordPaths.All;
        var closest = Suggestion.Closest(path, known);
        reader.Errors.Add(
            node.At,
            path,
            $"'{path}' is not a part of a record",
            (closest is null ? "" : $"Did you mean '{closest}'? ") + $"Use one of: {string.Join(", ", known)}{(hashes ? "" : ", attributes.NAME")}.");
        return false;
    }

    private bool IsFirst(YamlNode node, string path, string list)
    {
        if (_treated.TryAdd(path, (list, node.At.Line)))
        {
            return true;
        }

        var (other, line) = _treated[path];
        reader.Errors.Add(
            node.At,
            path,
            other == list
                ? $"'{path}' is listed twice"
                : $"'{path}' is under '{list}' and, in line {line.ToString(CultureInfo.InvariantCulture)}, under '{other}'",
            "Keep one of them.");
        return false;
    }

    private void CheckInputs(RecordTerms terms, Position at)
    {
        if (terms.Mask.Contains("inputs") && terms.InputCapture > 0)
        {
            reader.Errors.Add(at, "", "inputs are captured and masked", "Remove 'inputs' from 'mask', or write inputs: digest.");
        }
        else if (terms.Seal.Contains("inputs") && terms.InputCapture == 0)
        {
            reader.Errors.Add(at, "", "'inputs' is sealed but not captured", "Write inputs: full or inputs: { sampled: 0.01 }, or remove it from 'seal'.");
        }
    }
}
