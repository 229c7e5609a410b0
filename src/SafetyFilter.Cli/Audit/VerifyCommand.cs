using System.CommandLine;
using System.Diagnostics;
using System.Text;
using System.Text.Json;
using SafetyFilter.Ledger;

namespace SafetyFilter.Cli.Audit;

/// <summary>
/// <c>safetyfilter audit verify</c>: order, gaps, epochs, checksums, doubles. Exit code 0 when verified, 1 with findings,
/// 2 when the arguments are wrong, or nothing can be read or is there.
/// </summary>
internal static class VerifyCommand
{
    public static Command Create()
    {
        var arguments = new LedgerArguments();
        var json = new Option<bool>("--json") { Description = "Print the verdict as one JSON object." };
        var command = new Command("verify", "Check that a ledger is complete, in order and undamaged. Exit code: 0 verified, 1 findings, 2 unreadable.");
        arguments.AddTo(command);
        command.Options.Add(json);
        command.SetAction((parsed, stop) => Task.FromResult(Run(arguments, parsed, parsed.GetValue(json), stop)));
        return command;
    }

    private static int Run(LedgerArguments arguments, ParseResult parsed, bool json, CancellationToken stop)
    {
        var errors = parsed.InvocationConfiguration.Error;
        if (arguments.Open(parsed, out var error) is not { } source)
        {
            errors.WriteLine(error);
            return AuditCommand.Unreadable;
        }

        var since = Stopwatch.GetTimestamp();
        using var verifier = new LedgerVerifier();
        var failure = Verify(verifier, source, stop);
        if (failure is not null)
        {
            errors.WriteLine(failure);
            return AuditCommand.Unreadable;
        }

        var output = parsed.InvocationConfiguration.Output;
        if (json)
        {
            output.WriteLine(Json(verifier));
        }
        else
        {
            Print(output, verifier, Stopwatch.GetElapsedTime(since));
        }

        return verifier.IsVerified ? AuditCommand.Verified : AuditCommand.Findings;
    }

    private static string? Verify(LedgerVerifier verifier, ILedgerSource source, CancellationToken stop)
    {
        if (source is SpoolSource spool)
        {
            verifier.AddSpool(spool, out var error, stop);
            return error;
        }

        var failure = source.Read(verifier.Add, verifier.AddDamage, stop);
        verifier.Finish();
        return failure ?? (verifier.Records == 0 ? $"{source} holds no records: nothing to verify. If it had any, they are gone or expired." : null);
    }

    private static void Print(TextWriter output, LedgerVerifier verifier, TimeSpan elapsed)
    {
        foreach (var stream in verifier.Streams)
        {
            output.WriteLine(
                $"stream {stream.StreamId:N}: sequences {stream.FirstSequence} to {stream.LastSequence}, " +
                $"epochs {stream.FirstEpoch} to {stream.LastEpoch}");
        }

        foreach (var note in verifier.Notes)
        {
            output.WriteLine($"note: {note}");
        }

        foreach (var finding in verifier.Findings)
        {
            output.WriteLine($"{finding.Kind}: {finding.Source} at {finding.Position}, sequence {finding.Sequence}: {finding.Text}");
        }

        if (verifier.FindingCount > verifier.Findings.Count)
        {
            output.WriteLine($"... and {verifier.FindingCount - verifier.Findings.Count} more");
        }

        output.WriteLine(
            $"{verifier.Records:N0} records, {verifier.Decisions:N0} decisions over {verifier.Candidates:N0} candidates, " +
            $"{verifier.Bytes / 1048576.0:N1} MiB in {elapsed.TotalSeconds:N2} s; " +
            $"{verifier.Repeats:N0} repeats, {verifier.AdmittedLosses:N0} admitted losses");
        output.WriteLine(verifier.IsVerified ? "VERIFIED" : $"NOT VERIFIED: {verifier.FindingCount:N0} findings");
    }

    private static string Json(LedgerVerifier verifier)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream))
        {
            json.WriteStartObject();
            json.WriteBoolean("verified", verifier.IsVerified);
            json.WriteNumber("records", verifier.Records);
            json.WriteNumber("decisions", verifier.Decisions);
            json.WriteNumber("candidates", verifier.Candidates);
            json.WriteNumber("bytes", verifier.Bytes);
            json.WriteNumber("repeats", verifier.Repeats);
            json.WriteNumber("admitted_losses", verifier.AdmittedLosses);
            json.WriteNumber("finding_count", verifier.FindingCount);
            json.WriteStartArray("streams");
            foreach (var one in verifier.Streams)
            {
                json.WriteStartObject();
                json.WriteString("stream", one.StreamId.ToString("N"));
                json.WriteNumber("first_sequence", one.FirstSequence);
                json.WriteNumber("last_sequence", one.LastSequence);
                json.WriteNumber("first_epoch", one.FirstEpoch);
                json.WriteNumber("last_epoch", one.LastEpoch);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("findings");
            foreach (var finding in verifier.Findings)
            {
                json.WriteStartObject();
                json.WriteString("kind", finding.Kind.ToString());
                json.WriteString("source", finding.Source);
                json.WriteNumber("position", finding.Position);
                json.WriteString("stream", finding.StreamId.ToString("N"));
                json.WriteNumber("sequence", finding.Sequence);
                json.WriteString("text", finding.Text);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("notes");
            foreach (var note in verifier.Notes)
            {
                json.WriteStringValue(note);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }
}
