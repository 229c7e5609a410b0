using System.Buffers;
using System.CommandLine;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Google.Protobuf;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Cli.Audit;

/// <summary><c>safetyfilter audit cat</c>: one JSON object per record and line. Column fields stay columns; NaN is the string "NaN".</summary>
internal static class CatCommand
{
    private static readonly JsonFormatter Formatter = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));

    public static Command Create()
    {
        var arguments = new LedgerArguments();
        var command = new Command("cat", "Print the records of a ledger as JSON lines.");
        arguments.AddTo(command);
        command.SetAction((parsed, stop) => Task.FromResult(Run(arguments, parsed, stop)));
        return command;
    }

    private static int Run(LedgerArguments arguments, ParseResult parsed, CancellationToken stop)
    {
        var errors = parsed.InvocationConfiguration.Error;
        if (arguments.Open(parsed, out var error) is not { } source)
        {
            errors.WriteLine(error);
            return AuditCommand.Unreadable;
        }

        var output = parsed.InvocationConfiguration.Output;
        var unreadable = 0;
        var failure = source.Read(
            (_, _, type, record) => Write(output, type, record),
            (in SpoolDamage damage) =>
            {
                unreadable++;
                errors.WriteLine($"{damage.Path} at {damage.Offset}: {LedgerVerifier.Describe(damage)}");
            },
            stop);
        if (failure is not null)
        {
            errors.WriteLine(failure);
            return AuditCommand.Unreadable;
        }

        return unreadable == 0 ? AuditCommand.Verified : AuditCommand.Findings;
    }

    private static void Write(TextWriter output, RecordType? type, ReadOnlySpan<byte> record)
    {
        var known = RecordFields.TryRead(record, out var fields);
        var message = Parse(known ? type : null, record);
        using var sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var leaf = TreeHash.OfLeaf(sha, record);

        // A topic may hold messages without a value.
        var buffer = new ArrayBufferWriter<byte>(Math.Max(256, record.Length * 4));
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("type", type is null ? "unknown" : Name(type.Value));
            json.WriteString("stream", fields.StreamId.ToString("N"));
            json.WriteNumber("epoch", fields.Epoch);
            json.WriteNumber("sequence", fields.Sequence);
            json.WriteString("leaf_hash", Convert.ToHexStringLower(leaf));
            json.WritePropertyName("record");
            if (message is null)
            {
                json.WriteBase64StringValue(record);
            }
            else
            {
                json.WriteRawValue(Formatter.Format(message));
            }

            json.WriteEndObject();
        }

        output.WriteLine(Encoding.UTF8.GetString(buffer.WrittenSpan));
    }

    private static string Name(RecordType type) => type switch
    {
        RecordType.Decision => "decision",
        RecordType.EpochStart => "epoch-start",
        RecordType.EpochEnd => "epoch-end",
        RecordType.Checkpoint => "checkpoint",
        RecordType.Gap => "gap",
        RecordType.Loss => "loss",
        RecordType.Withdrawal => "withdrawal",
        RecordType.Activation => "activation",
        RecordType.BreakerChange => "breaker",
        RecordType.Change => "change",
        RecordType.Shed => "shed",
        RecordType.SecurityEvent => "security",
        _ => string.Create(CultureInfo.InvariantCulture, $"record-{(int)type}"),
    };

    private static IMessage? Parse(RecordType? type, ReadOnlySpan<byte> record)
    {
        try
        {
            return type switch
            {
                RecordType.Decision => DecisionRecord.Parser.ParseFrom(record),
                RecordType.EpochStart => EpochStart.Parser.ParseFrom(record),
                RecordType.EpochEnd => EpochEnd.Parser.ParseFrom(record),
                RecordType.Checkpoint => Checkpoint.Parser.ParseFrom(record),
                RecordType.Gap => Gap.Parser.ParseFrom(record),
                RecordType.Loss => Loss.Parser.ParseFrom(record),
                RecordType.Withdrawal => Withdrawal.Parser.ParseFrom(record),
                RecordType.Activation => Activation.Parser.ParseFrom(record),
                RecordType.BreakerChange => BreakerChange.Parser.ParseFrom(record),
                RecordType.Change => Change.Parser.ParseFrom(record),
                RecordType.Shed => Shed.Parser.ParseFrom(record),
                RecordType.SecurityEvent => SecurityEvent.Parser.ParseFrom(record),
                _ => null,
            };
        }
        catch (InvalidProtocolBufferException)
        {
            return null;
        }
    }
}
