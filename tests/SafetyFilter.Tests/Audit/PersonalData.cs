using System.Collections;
using System.Globalization;
using Google.Protobuf;

namespace SafetyFilter.Tests.Audit;

/// <summary>
/// Puts values into a record that occur nowhere else: into every text and every field of bytes, whatever it is called, but those that a statement of
/// reasons is made of. So a field that is added later is looked for as well.
/// </summary>
internal sealed class PersonalData
{
    private static readonly HashSet<string> Public = new(StringComparer.Ordinal)
    {
        "DecisionRecord.stream_id", "DecisionRecord.policy", "DecisionRecord.surface", "DecidingRule.id", "DecidingRule.reason_code", "DecidingRule.label",
    };

    /// <summary>What must not be found, and where it was put; bytes in hexadecimal and in base64.</summary>
    public List<(string Field, string Value)> Values { get; } = [];

    public void Plant(IMessage message)
    {
        foreach (var field in message.Descriptor.Fields.InFieldNumberOrder())
        {
            var name = $"{message.Descriptor.Name}.{field.Name}";
            if (Public.Contains(name))
            {
                continue;
            }

            var value = field.Accessor.GetValue(message);
            if (value is IList list)
            {
                for (var index = 0; index < list.Count; index++)
                {
                    list[index] = Replaced(name, list[index]!);
                }
            }
            else if (value is not null && Replaced(name, value) is var replaced && !ReferenceEquals(replaced, value))
            {
                field.Accessor.SetValue(message, replaced);
            }
        }
    }

    private object Replaced(string name, object value)
    {
        switch (value)
        {
            case IMessage inner:
                Plant(inner);
                return value;
            case string { Length: > 0 }:
                var text = string.Create(CultureInfo.InvariantCulture, $"zq{Values.Count}-person@example.org");
                Values.Add((name, text));
                return text;
            case ByteString { Length: > 0 } bytes:
                var secret = new byte[bytes.Length];
                new Random(Values.Count).NextBytes(secret);
                Values.Add((name, Convert.ToHexString(secret)));
                Values.Add((name, Convert.ToBase64String(secret)));
                return ByteString.CopyFrom(secret);
            default:
                return value;
        }
    }
}
