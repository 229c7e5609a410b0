using System.CommandLine;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Ledger.Verify;

namespace SafetyFilter.Cli.Audit;

/// <summary>
/// <c>safetyfilter audit verify</c>: order, gaps, epochs, checksums, doubles, the tree and its signatures, receipts and checkpoints from
/// elsewhere. Exit code 0 when verified, 1 with findings, 2 when the arguments are wrong, or nothing can be read or is there.
/// </summary>
internal sealed class VerifyCommand
{
    private readonly LedgerArguments _ledger = new(byGroup: true);
    private readonly IdentityOption _identities = new();
    private readonly Option<string[]> _receipts = new("--receipts")
    {
        Description = "A file of receipts that rankers kept, one JSON object a line: each must be found with the same leaf. Repeatable.",
        DefaultValueFactory = static _ => [],
    };

    private readonly Option<string[]> _checkpoints = new("--checkpoints")
    {
        Description = "Checkpoints from elsewhere (a file of signed notes, or a witness's state folder): the ledger must contain these trees. Repeatable.",
        DefaultValueFactory = static _ => [],
    };

    private readonly Option<bool> _strict = new("--strict") { Description = "Also admitted gaps, unsigned epochs and what cannot be proven are findings." };
    private readonly Option<bool> _json = new("--json") { Description = "Print the verdict as one JSON object." };
    private readonly Option<bool> _progress = new("--progress") { Description = "Tell on stderr how far reading is, also when it is no terminal." };

    public static Command Create()
    {
        var verify = new VerifyCommand();
        var command = new Command("verify", "Check that a ledger is complete, in order, undamaged and what was signed. Exit code: 0 verified, 1 findings, 2 unreadable.");
        verify._ledger.AddTo(command);
        verify._identities.AddTo(command);
        command.Options.Add(verify._receipts);
        command.Options.Add(verify._checkpoints);
        command.Options.Add(verify._strict);
        command.Options.Add(verify._json);
        command.Options.Add(verify._progress);
        command.SetAction((parsed, stop) => Task.FromResult(verify.Run(parsed, stop)));
        return command;
    }

    private int Run(ParseResult parsed, CancellationToken stop)
    {
        var errors = parsed.InvocationConfiguration.Error;
        var source = _ledger.Open(parsed, out var error);
        var options = source is null ? null : Options(parsed, source, out error);
        if (source is null || options is null)
        {
            errors.WriteLine(error);
            return AuditCommand.Unreadable;
        }

        var report = new VerifyReport(options);
        try
        {
            error = _ledger.Run(parsed, source, (part, token) => Read(part, options, errors, parsed.GetValue(_progress), report, token), out var shared, stop);
            report.Partitions = shared;
        }
        catch (OperationCanceledException)
        {
            error = "Stopped before everything was read: no verdict.";
        }

        if (error is not null)
        {
            errors.WriteLine(error);
            return AuditCommand.Unreadable;
        }

        var output = parsed.InvocationConfiguration.Output;
        if (parsed.GetValue(_json))
        {
            output.WriteLine(report.ToJson());
        }
        else
        {
            report.Print(output);
        }

        return report.ExitCode;
    }

    private VerifierOptions? Options(ParseResult parsed, ILedgerSource source, out string error)
    {
        error = "";
        if (_identities.Read(parsed, out error) is not { } identities)
        {
            return null;
        }

        var receipts = new ReceiptBook();
        var known = new KnownCheckpoints();
        var problem = (parsed.GetValue(_receipts) ?? []).Select(file => ReceiptFile.Load(file, receipts)).FirstOrDefault(static one => one is not null)
            ?? (parsed.GetValue(_checkpoints) ?? []).Select(known.Load).FirstOrDefault(static one => one is not null);
        if (problem is not null)
        {
            error = problem;
            return null;
        }

        return new VerifierOptions
        {
            Identities = identities,
            Receipts = receipts.Count > 0 ? receipts : null,
            Checkpoints = known.Count > 0 ? known : null,
            Strict = parsed.GetValue(_strict),
            EndIsCut = source is TopicSource { To: not { Offset: null, Time: null } },
            OtherStreamsExist = _ledger.IsShared(parsed),
        };
    }

    private static PartitionWork Read(
        ILedgerSource source, VerifierOptions options, TextWriter errors, bool showsProgress, VerifyReport report, CancellationToken stop)
    {
        var verifier = new LedgerVerifier(options);
        string? failure;
        using (var progress = new ReadProgress(errors, () => (verifier.Records, verifier.Bytes), () => source switch
        {
            SpoolSource { Bytes: > 0 } files => (double)verifier.Bytes / files.Bytes,
            TopicSource { Messages: > 0 } topic => (double)verifier.Records / topic.Messages,
            _ => null,
        }))
        {
            progress.Start(showsProgress);
            if (source is SpoolSource spool)
            {
                verifier.AddSpool(spool, out failure, stop);
            }
            else
            {
                failure = source.Read(verifier.Add, verifier.AddDamage, stop);
                verifier.Finish();
                failure ??= verifier.Records == 0 ? $"{source} holds no records: nothing to verify. If it had any, they are gone or expired." : null;
            }
        }

        return new PartitionWork(failure, () => report.Add(verifier), verifier.Dispose);
    }
}
