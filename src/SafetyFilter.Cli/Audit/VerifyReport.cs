using System.Diagnostics;
using System.Text;
using System.Text.Json;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Verify;

namespace SafetyFilter.Cli.Audit;

/// <summary>The verdict over everything one run of <c>audit verify</c> read, as text or as the JSON that Ledger/README.md documents.</summary>
internal sealed class VerifyReport(VerifierOptions options)
{
    private readonly long _since = Stopwatch.GetTimestamp();
    private readonly List<LedgerVerifier> _verifiers = [];

    /// <summary>With a consumer group: partitions verified here, verified before by others, and taken away before their end.</summary>
    public GroupShare? Partitions { get; set; }

    public int ExitCode => _verifiers.TrueForAll(static one => one.IsVerified) && options.Receipts is not { Failed: > 0 } ? AuditCommand.Verified : AuditCommand.Findings;

    public void Add(LedgerVerifier verifier) => _verifiers.Add(verifier);

    public void Print(TextWriter output)
    {
        foreach (var stream in _verifiers.SelectMany(static one => one.Streams))
        {
            output.WriteLine(
                $"stream {stream.StreamId:N}: sequences {stream.FirstSequence} to {stream.LastSequence}, epochs {stream.FirstEpoch} to {stream.LastEpoch}; " +
                (stream.SignedThrough == 0
                    ? "nothing of it is proven by a signature"
                    : $"signed through {stream.SignedThrough} ({stream.Checkpoints} checkpoints), the {stream.Uncovered} records behind are not yet covered"));
        }

        foreach (var note in _verifiers.SelectMany(static one => one.Notes))
        {
            output.WriteLine($"note: {note}");
        }

        foreach (var finding in _verifiers.SelectMany(static one => one.Findings))
        {
            output.WriteLine($"{finding.Kind}: {finding.Source} at {finding.Position}, sequence {finding.Sequence}: {finding.Text}");
        }

        var findings = Sum(static one => one.FindingCount);
        if (findings > _verifiers.Sum(static one => one.Findings.Count))
        {
            output.WriteLine($"... and {findings - _verifiers.Sum(static one => one.Findings.Count)} more");
        }

        var records = Sum(static one => one.Records);
        var seconds = Math.Max(Stopwatch.GetElapsedTime(_since).TotalSeconds, 1e-6);
        output.WriteLine(
            $"{records:N0} records, {Sum(static one => one.Decisions):N0} decisions over {Sum(static one => one.Candidates):N0} candidates, " +
            $"{Sum(static one => one.Bytes) / 1048576.0:N1} MiB in {seconds:N2} s ({records / seconds:N0} records/s); " +
            $"{Sum(static one => one.Repeats):N0} repeats, {Sum(static one => one.AdmittedLosses):N0} admitted losses, " +
            $"{AdmittedGaps:N0} records in admitted gaps, {Sum(static one => one.Withdrawals):N0} withdrawals");
        if (options.Receipts is { } receipts)
        {
            output.WriteLine(
                $"{receipts.Count:N0} receipts: {receipts.Matched:N0} found, {receipts.Failed:N0} not, {receipts.Lost:N0} in admitted gaps, {receipts.Outside:N0} outside of what was read");
        }

        if (options.Checkpoints is { } known)
        {
            output.WriteLine($"{known.Count:N0} checkpoints from elsewhere: {known.Matched:N0} in the ledger, {known.Differing:N0} not, {known.Outside:N0} not comparable");
        }

        if (Partitions is not null)
        {
            output.WriteLine(Partitions);
        }

        output.WriteLine(findings == 0 ? "VERIFIED" : $"NOT VERIFIED: {findings:N0} findings");
    }

    public string ToJson()
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream))
        {
            json.WriteStartObject();
            json.WriteString("schema", "safetyfilter.audit.verify/1");
            json.WriteBoolean("verified", ExitCode == AuditCommand.Verified);
            json.WriteNumber("exit_code", ExitCode);
            json.WriteNumber("records", Sum(static one => one.Records));
            json.WriteNumber("decisions", Sum(static one => one.Decisions));
            json.WriteNumber("candidates", Sum(static one => one.Candidates));
            json.WriteNumber("bytes", Sum(static one => one.Bytes));
            json.WriteNumber("repeats", Sum(static one => one.Repeats));
            json.WriteNumber("admitted_losses", Sum(static one => one.AdmittedLosses));
            json.WriteNumber("admitted_gaps", AdmittedGaps);
            json.WriteNumber("withdrawals", Sum(static one => one.Withdrawals));
            json.WriteNumber("finding_count", Sum(static one => one.FindingCount));
            WriteOutside(json);
            WriteStreams(json);
            WriteFindings(json);
            json.WriteStartArray("notes");
            foreach (var note in _verifiers.SelectMany(static one => one.Notes))
            {
                json.WriteStringValue(note);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }

    private long AdmittedGaps => _verifiers.Sum(static one => one.Streams.Sum(static stream => (long)stream.AdmittedGaps));

    private long Sum(Func<LedgerVerifier, long> of) => _verifiers.Sum(of);

    private void WriteOutside(Utf8JsonWriter json)
    {
        if (options.Receipts is { } receipts)
        {
            json.WriteStartObject("receipts");
            json.WriteNumber("count", receipts.Count);
            json.WriteNumber("found", receipts.Matched);
            json.WriteNumber("failed", receipts.Failed);
            json.WriteNumber("in_admitted_gaps", receipts.Lost);
            json.WriteNumber("outside", receipts.Outside);
            json.WriteEndObject();
        }

        if (options.Checkpoints is { } known)
        {
            json.WriteStartObject("checkpoints");
            json.WriteNumber("count", known.Count);
            json.WriteNumber("found", known.Matched);
            json.WriteNumber("failed", known.Differing);
            json.WriteNumber("outside", known.Outside);
            json.WriteEndObject();
        }

        Partitions?.Write(json, "verified");
    }

    private void WriteStreams(Utf8JsonWriter json)
    {
        json.WriteStartArray("streams");
        foreach (var one in _verifiers.SelectMany(static one => one.Streams))
        {
            json.WriteStartObject();
            json.WriteString("stream", one.StreamId.ToString("N"));
            json.WriteNumber("first_sequence", one.FirstSequence);
            json.WriteNumber("last_sequence", one.LastSequence);
            json.WriteNumber("first_epoch", one.FirstEpoch);
            json.WriteNumber("last_epoch", one.LastEpoch);
            json.WriteNumber("signed_through", one.SignedThrough);
            json.WriteNumber("not_covered", one.Uncovered);
            json.WriteNumber("unproven", one.Unproven);
            json.WriteNumber("checkpoints", one.Checkpoints);
            json.WriteNumber("admitted_gaps", one.AdmittedGaps);
            json.WriteString("identity", one.Identity);
            json.WriteBoolean("ended_cleanly", one.EndedCleanly);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private void WriteFindings(Utf8JsonWriter json)
    {
        json.WriteStartArray("findings");
        foreach (var finding in _verifiers.SelectMany(static one => one.Findings))
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
    }
}
