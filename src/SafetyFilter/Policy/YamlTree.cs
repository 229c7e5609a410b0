using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace SafetyFilter.Policy;

/// <summary>A YAML value with its place. Scalars stay text: what `NO`, `on` or `1:30` mean is the reader's to say, not YAML's.</summary>
internal abstract record YamlNode(Position At);

/// <param name="Plain">Written without quotes.</param>
internal sealed record YamlText(Position At, string Value, bool Plain) : YamlNode(At)
{
    /// <summary>`key:` with nothing behind it, `~` or `null`.</summary>
    public bool IsNull => Plain && Value is "" or "~" or "null" or "Null" or "NULL";
}

internal sealed record YamlList(Position At, List<YamlNode> Items) : YamlNode(At);

/// <summary>Keys in the order written; duplicates were reported and left out.</summary>
internal sealed record YamlMap(Position At, List<(YamlText Key, YamlNode Value)> Entries) : YamlNode(At)
{
    public YamlNode? Find(string key) => Entries.FirstOrDefault(entry => entry.Key.Value == key).Value;
}

/// <summary>
/// Turns YAML documents into <see cref="YamlNode"/>s. YamlDotNet's own representation model throws at the first duplicate
/// key; this one reports all of them and goes on.
/// </summary>
internal sealed class YamlTree
{
    private const int MaxDepth = 64;

    private readonly Parser _parser;
    private readonly PolicyErrors _errors;

    private YamlTree(Parser parser, PolicyErrors errors)
    {
        _parser = parser;
        _errors = errors;
    }

    /// <summary>
    /// Reads all documents of a file, each with its own errors. After a syntax error the rest of the file is unknown: the last
    /// document then has no root, and carries that error.
    /// </summary>
    public static List<(YamlNode? Root, PolicyErrors Errors)> Read(PolicySource source)
    {
        var documents = new List<(YamlNode? Root, PolicyErrors Errors)>();
        var errors = new PolicyErrors(source.Name);
        try
        {
            var parser = new Parser(new StringReader(source.Text));
            while (parser.MoveNext())
            {
                if (parser.Current is DocumentStart)
                {
                    parser.MoveNext();
                    errors = new PolicyErrors(source.Name);
                    documents.Add((new YamlTree(parser, errors).ReadNode(0), errors));
                    errors = new PolicyErrors(source.Name);
                }
            }
        }
        catch (YamlException e)
        {
            // For a tab YamlDotNet names the place where the mapping round it began.
            var isTab = e.Message.Contains("invalid tab", StringComparison.Ordinal);
            errors.Add(
                isTab ? FirstTab(source.Text, ToPosition(e.Start)) : ToPosition(e.Start),
                "",
                $"the YAML cannot be read: {Plainly(e)}",
                isTab ? "Indent with spaces." : "Check indentation, quotes and brackets near here.");
            documents.Add((null, errors));
        }

        return documents;
    }

    private YamlNode ReadNode(int depth)
    {
        var node = _parser.Current as NodeEvent;
        var at = ToPosition(_parser.Current!.Start);
        if (depth > MaxDepth)
        {
            throw new SemanticErrorException(_parser.Current.Start, _parser.Current.End, $"values are nested more than {MaxDepth} deep");
        }

        if (_parser.Current is AnchorAlias alias)
        {
            _errors.Add(at, "*" + alias.Value.Value, $"alias '*{alias.Value.Value}' is not part of the policy language", "Write the value out.");
            return new YamlText(at, "*" + alias.Value.Value, Plain: false);
        }

        if (node is { Anchor.IsEmpty: false })
        {
            _errors.Add(at, "&" + node.Anchor.Value, $"anchor '&{node.Anchor.Value}' is not part of the policy language", "Remove it.");
        }

        if (node is { Tag: { IsEmpty: false, IsNonSpecific: false } })
        {
            _errors.Add(at, node.Tag.Value, $"tag '{node.Tag.Value}' is not part of the policy language", "Remove it.");
        }

        return _parser.Current switch
        {
            Scalar scalar => new YamlText(at, scalar.Value, scalar.Style == ScalarStyle.Plain),
            SequenceStart => ReadList(at, depth),
            MappingStart => ReadMap(at, depth),
            _ => throw new SemanticErrorException(_parser.Current.Start, _parser.Current.End, "a value was expected"),
        };
    }

    private YamlList ReadList(Position at, int depth)
    {
        var items = new List<YamlNode>();
        while (_parser.MoveNext() && _parser.Current is not SequenceEnd)
        {
            items.Add(ReadNode(depth + 1));
        }

        return new YamlList(at, items);
    }

    private YamlMap ReadMap(Position at, int depth)
    {
        var entries = new List<(YamlText Key, YamlNode Value)>();
        var lines = new Dictionary<string, int>();
        while (_parser.MoveNext() && _parser.Current is not MappingEnd)
        {
            var key = ReadNode(depth + 1);
            _parser.MoveNext();
            var value = ReadNode(depth + 1);
            if (key is not YamlText text)
            {
                _errors.Add(key.At, "", "a key is a list or a mapping", "Write keys as plain words.");
            }
            else if (!lines.TryAdd(text.Value, text.At.Line))
            {
                var line = lines[text.Value].ToString(CultureInfo.InvariantCulture);
                _errors.Add(text.At, text.Value, $"key '{text.Value}' was already given in line {line}", "Keep one of them.");
            }
            else
            {
                entries.Add((text, value));
            }
        }

        return new YamlMap(at, entries);
    }

    private static Position FirstTab(string text, Position from)
    {
        var line = 0;
        foreach (var content in text.AsSpan().EnumerateLines())
        {
            var column = content.IndexOfAnyExcept(' ') + 1;
            if (++line >= from.Line && column > 0 && content[column - 1] == '\t')
            {
                return new Position(line, column);
            }
        }

        return from;
    }

    private static Position ToPosition(Mark mark) => new((int)Math.Max(1, mark.Line), (int)Math.Max(1, mark.Column));

    // YamlDotNet's messages may carry "(Line: 1, Col: 2, Idx: 3) - " prefixes of their own, and end in a full stop.
    private static string Plainly(YamlException e)
    {
        var message = e.Message;
        var prefix = message.LastIndexOf("): ", StringComparison.Ordinal);
        message = (prefix < 0 ? message : message[(prefix + 3)..]).Trim().TrimEnd('.');
        return message.Length == 0 ? "syntax error" : char.ToLowerInvariant(message[0]) + message[1..];
    }
}
