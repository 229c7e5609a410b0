using System.CommandLine;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Ledger.Verify;

namespace SafetyFilter.Cli.Audit;

/// <summary>
/// <c>safetyfilter audit witness</c>: cosigns checkpoints that only add to those cosigned before (C2SP tlog-cosignature). Exit code 0 when all
/// streams are consistent, 1 when one was refused, 2 when nothing can be read.
/// </summary>
internal sealed class WitnessCommand
{
    private const string WitnessName = "safetyfilter/witness";
    private readonly LedgerArguments _ledger = new();
    private readonly IdentityOption _identities = new();
    private readonly Option<string> _state = new("--state") { Required = true, Description = "The folder in which the witness keeps what it has seen and cosigned." };
    private readonly Option<string?> _key = new("--key") { Description = "The file of the witness's own key; made at first use. Default: witness.key in the state folder." };
    private readonly Option<bool> _follow = new("--follow") { Description = "Go on with what comes into the topic until interrupted." };
    private readonly Option<int> _every = new("--every")
    {
        Description = "Following, cosign each stream at most once in so many seconds. All checkpoints between are checked.",
        DefaultValueFactory = static _ => 60,
    };

    private readonly Option<bool> _json = new("--json") { Description = "Print how it went as one JSON object." };

    public static Command Create()
    {
        var witness = new WitnessCommand();
        var command = new Command("witness", "Cosign the checkpoints of streams that only grow. Exit code: 0 consistent, 1 refused, 2 unreadable.");
        witness._ledger.AddTo(command);
        witness._identities.AddTo(command);
        command.Options.Add(witness._state);
        command.Options.Add(witness._key);
        command.Options.Add(witness._follow);
        command.Options.Add(witness._every);
        command.Options.Add(witness._json);
        command.SetAction((parsed, stop) => Task.FromResult(witness.Run(parsed, stop)));
        return command;
    }

    private int Run(ParseResult parsed, CancellationToken stop)
    {
        var errors = parsed.InvocationConfiguration.Error;
        var source = _ledger.Open(parsed, out var error);
        var identities = source is null ? null : _identities.Read(parsed, out error);
        var follows = parsed.GetValue(_follow);
        if (follows && source is SpoolSource)
        {
            error = "--follow is for topics. Run it again and again over a folder.";
        }

        if (source is null || identities is null || error.Length > 0)
        {
            errors.WriteLine(error);
            return AuditCommand.Unreadable;
        }

        try
        {
            var folder = parsed.GetValue(_state)!;
            Directory.CreateDirectory(folder);
            using var key = NoteKey.LoadOrCreate(parsed.GetValue(_key) ?? Path.Combine(folder, "witness.key"), WitnessName, NoteSignatureType.Cosignature);
            var refusals = new List<string>();
            var witness = new Witness(folder, key, identities, TimeProvider.System)
            {
                OnRefusal = why =>
                {
                    refusals.Add(why);
                    errors.WriteLine($"REFUSED: {why}");
                },
            };
            error = follows
                ? Follow((TopicSource)source, witness, TimeSpan.FromSeconds(parsed.GetValue(_every)), stop)
                : source.Read(witness.Take, static (in SpoolDamage _) => { }, stop) ?? "";
            if (error.Length == 0 && !follows && source is not TopicSource { To: not { Offset: null, Time: null } })
            {
                witness.FinishPass();
            }

            witness.Cosign();
            parsed.InvocationConfiguration.Output.WriteLine(parsed.GetValue(_json)
                ? Json(witness, refusals, key)
                : $"{witness.Streams} streams, {witness.Records:N0} records read, {witness.Cosigned} checkpoints cosigned, {witness.Refusals} refused; witness key {key.Verifier.Text}");
            if (error.Length == 0 && witness.Records == 0)
            {
                error = "There are no records: nothing to witness.";
            }

            if (error.Length > 0)
            {
                errors.WriteLine(error);
                return AuditCommand.Unreadable;
            }

            return witness.Refusals == 0 ? AuditCommand.Verified : AuditCommand.Findings;
        }
        catch (Exception failure) when (failure is LedgerException or IOException or UnauthorizedAccessException)
        {
            errors.WriteLine(failure.Message);
            return AuditCommand.Unreadable;
        }
    }

    private static string Json(Witness witness, List<string> refusals, NoteKey key) => JsonText.Write(json =>
    {
        json.WriteNumber("streams", witness.Streams);
        json.WriteNumber("records", witness.Records);
        json.WriteNumber("cosigned", witness.Cosigned);
        json.WriteString("witness_key", key.Verifier.Text);
        json.WriteStartArray("refusals");
        refusals.ForEach(json.WriteStringValue);
        json.WriteEndArray();
    });

    private static string Follow(TopicSource source, Witness witness, TimeSpan every, CancellationToken stop)
    {
        var since = TimeProvider.System.GetTimestamp();
        try
        {
            return (source with { Follow = true }).Read(
                (name, position, type, record) =>
                {
                    witness.Take(name, position, type, record);
                    if (TimeProvider.System.GetElapsedTime(since) >= every)
                    {
                        witness.Cosign();
                        since = TimeProvider.System.GetTimestamp();
                    }
                },
                static (in SpoolDamage _) => { },
                stop) ?? "";
        }
        catch (OperationCanceledException)
        {
            return "";
        }
    }
}
