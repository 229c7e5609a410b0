using System.Globalization;
using SafetyFilter.Audit;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Cli.Audit;

/// <summary>Tells one recorded decision in plain words.</summary>
/// <param name="policy">The one that decided; null when it is not at hand.</param>
internal sealed class DecisionStory(TextWriter output, RecordedDecision record, ArchivedPolicy? policy)
{
    public void TellRequest(bool withdrawn)
    {
        var batch = record.Batch;
        Line("", $"Decision {record.Sequence} of stream {record.Stream:N}, epoch {record.Epoch}");
        Line("when", record.Time.ToString("yyyy-MM-dd HH:mm:ss.ffffff 'UTC'", CultureInfo.InvariantCulture));
        Line("surface", $"{record.Text(batch.Surface)}, for {record.Text(batch.Purpose)}");
        Line("request", $"'{record.Text(batch.RequestId)}' from {Or(record.Text(record.Caller), "an unknown caller")}, {Count(record.Count, "candidate")}");
        Line("viewer", $"territory {Or(record.Text(batch.Territory), "unknown")}, age band {Or(record.Text(batch.AgeBand), "unknown")}, experiment {Or(record.Text(batch.Experiment), "none")}");
        Line("policy", $"{record.Text(record.Policy)}, revision {record.Text(record.PolicyRevision)}{(policy is null ? " (not at hand: name it with --policies to see its rules)" : $", owned by {policy.Policy.Owner}")}");
        Line("build", $"{record.Text(record.Build)}, configuration {record.Text(record.ConfigRevision)}");
        Line("took", string.Create(CultureInfo.InvariantCulture, $"{record.EngineMicros:N0} us of a budget of {record.BudgetMicros:N0} us"));
        foreach (var bundle in record.Bundles)
        {
            Line("bundle", $"{record.Text(bundle.Name)} {record.Text(bundle.Version)}, model sha256 {Convert.ToHexStringLower(record[bundle.ModelSha256])}: {RunOf(bundle)}, breaker {Words(bundle.Breaker)}");
        }

        TellPrivacy();
        Line("recorded", withdrawn ? "yes, and WITHDRAWN: the answer was refused because this record was late, so nothing of it was applied" : "yes, and given");
        if (record.LostSinceLast > 0)
        {
            Line("losses", $"{Count((long)record.LostSinceLast, "answer")} before this one went unrecorded");
        }
    }

    public void TellCandidate(int candidate)
    {
        var rule = record.Rules[(int)record.RuleIndexes[candidate]];
        var id = record.Text(rule.Id);
        var version = record.Batch.ContentVersions.Count > 0 ? $", version '{record.Text(record.Batch.ContentVersions[candidate])}'" : "";
        Line("", $"Candidate {candidate} '{record.Text(record.Batch.Ids[candidate])}'{version}: {ConditionWords.Action(rule.Action, rule.DemoteFactor, record.Text(rule.Label), rule.MinimumAge)}");
        var condition = ConditionWords.Of(policy, id);
        Line("rule", condition.Length == 0 ? id : $"{id}: {condition}");
        if (!rule.ReasonCode.IsEmpty)
        {
            Line("reason", $"{record.Text(rule.ReasonCode)}, severity {Words(rule.Severity)}");
        }

        Line("basis", record.Bases[candidate] switch
        {
            Basis.FailedClosed => "failed closed: a classifier gave no score and counted as over every limit",
            Basis.FailedOpen => "failed open: a classifier gave no score and counted as under every limit",
            Basis.LastKnown => "last known: a classifier gave no score, and one remembered for the content's version stood in",
            _ => "evaluated: every classifier gave a score",
        });
        if (!float.IsNaN(record.Margins[candidate]))
        {
            Line("margin", string.Create(CultureInfo.InvariantCulture, $"{record.Margins[candidate]:R}: scores may move this far until the rule's outcome changes"));
        }

        var read = policy is not null && policy.Conditions.TryGetValue(id, out var when) ? ConditionWords.Classifiers(when).ToList() : [];
        for (var row = 0; row < record.Classifiers.Count; row++)
        {
            TellScore(row, candidate, read);
        }

        foreach (var shadow in record.Shadows)
        {
            if (record.CandidatesOf(shadow).Contains((uint)candidate))
            {
                Line("rehearsal", $"{record.Text(shadow.RuleId)} would have said {ConditionWords.Action(shadow.Action, 0, "", 0)}: {ConditionWords.Of(policy, record.Text(shadow.RuleId))}");
            }
        }
    }

    /// <param name="identities">Whose certificates are believed; anybody's when there are none.</param>
    public void TellProof(RecordProof? proof, IReadOnlyList<NoteVerifier> identities)
    {
        if (proof is null)
        {
            Line("proof", "NOT PROVEN: no signed checkpoint in this ledger covers the record (yet)");
            return;
        }

        Line("proof", $"leaf {proof.Index} of the tree of {proof.TreeSize} leaves, leaf hash {proof.Leaf}");
        foreach (var hash in proof.Path)
        {
            Line("path", ((TreeHash)hash).ToString());
        }

        Line("root", proof.Root.ToString());
        foreach (var line in proof.Note.TrimEnd('\n').Split('\n'))
        {
            Line("note", line);
        }

        var by = proof.Identity is { } identity ? $"which the identity '{identity.Text}' certified" : "which no identity certified";
        Line("", (proof.IsIncluded, proof.Signed) switch
        {
            (true, true) when proof.IsProven(identities) =>
                $"  verified: the record is in the signed tree; the note is signed by the epoch's key, {by}{(identities.Count == 0 ? " (pin it with --identity)" : "")}",
            (true, true) => $"  NOT PROVEN: the record is in the signed tree; the note is signed by the epoch's key, {by}{(identities.Count == 0 ? "" : ", and that is none of --identity")}",
            (true, null) => "  NOT PROVEN: the record is in the tree that the note names; the note is by a key that this part of the ledger does not name",
            _ => $"  NOT VERIFIED: included {proof.IsIncluded}; the note is {(proof.Signed == true ? "" : "NOT ")}signed by the epoch's key",
        });
    }

    private void TellScore(int row, int candidate, List<string> read)
    {
        var classifier = record.Classifiers[row];
        var name = record.Text(classifier.Name);
        var score = record.Scores.Row(row)[candidate];
        var mark = read.Contains(name) ? " (the rule reads it)" : "";
        var failure = record.Scores.Failures(row)[candidate];
        if (!float.IsNaN(score))
        {
            var remembered = failure == FailureKind.None ? "" : $" (remembered: {Words(failure)})";
            var earlier = record.IsRemembered(record.Bundles[classifier.Bundle], candidate) ? ", score remembered from an earlier run of the same content version and bundle" : "";
            Line("score", string.Create(CultureInfo.InvariantCulture, $"{name} {score:R}{remembered}{mark}{earlier}"));
            return;
        }

        Line("score", $"{name}: none, {Words(failure)}; it fails {Words(ModeOf(row, candidate, classifier.FailMode))}{mark}");
    }

    private string RunOf(in RecordedBundle bundle)
    {
        var remembered = 0;
        for (var candidate = 0; candidate < record.Count; candidate++)
        {
            remembered += record.IsRemembered(bundle, candidate) ? 1 : 0;
        }

        if (remembered == record.Count && remembered > 0)
        {
            return "did not run, all scores are remembered";
        }

        var run = bundle.Failure == FailureKind.None
            ? string.Create(CultureInfo.InvariantCulture, $"ran {bundle.Micros:N0} us")
            : $"gave no scores: {Words(bundle.Failure)}";
        run += bundle.Parts > 1 ? string.Create(CultureInfo.InvariantCulture, $", in {bundle.Parts} parts") : "";
        return remembered == 0 ? run : $"the scores of {Count(remembered, "candidate")} are remembered; for the others it {run}";
    }

    private FailMode ModeOf(int row, int candidate, FailMode policys)
    {
        foreach (var degradation in record.Degradations)
        {
            var candidates = record.CandidatesOf(degradation);
            if (degradation.Classifier == row && (candidates.IsEmpty || candidates.Contains((uint)candidate)))
            {
                return degradation.FailMode;
            }
        }

        return policys;
    }

    private void TellPrivacy()
    {
        if (record.Masked.Count > 0)
        {
            Line("masked", Texts(record.Masked));
        }

        if (record.Hashed.Count > 0)
        {
            Line("hashed", $"{Texts(record.Hashed)}, with key {Convert.ToHexStringLower(record[record.HashKeyId])}");
        }

        if (record.SealedPaths.Count > 0)
        {
            Line("sealed", $"{Texts(record.SealedPaths)}, for key {Convert.ToHexStringLower(record[record.Seal.KeyId])}: {(record.IsUnsealed ? "opened" : "closed (--subject-keys opens it, unless the key was destroyed)")}");
        }

        if (record.HasInputs)
        {
            Line("inputs", "captured: audit replay scores them again");
        }
    }

    private string Texts(List<ByteSlice> slices) => string.Join(", ", slices.Select(record.Text));

    private static string Or(string text, string other) => text.Length == 0 ? other : text;

    private static string Count(long count, string what) => count == 1 ? $"1 {what}" : string.Create(CultureInfo.InvariantCulture, $"{count:N0} {what}s");

    private static string Words<T>(T value)
        where T : struct, Enum => System.Text.Json.JsonNamingPolicy.KebabCaseLower.ConvertName(value.ToString()).Replace('-', ' ');

    private void Line(string what, string text) => output.WriteLine(what.Length == 0 ? text : $"  {what + ":",-11}{text}");
}
