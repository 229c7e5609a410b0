using System.Runtime.InteropServices;
using System.Text;
using SafetyFilter.Decisions;

namespace SafetyFilter.Audit;

/// <summary>
/// Recomputes decisions from their records and compares: the verdicts from the recorded scores under the recorded policy, and
/// the scores too where the record has the inputs. Used by one thread.
/// </summary>
internal sealed partial class ReplayWork(PolicyArchive policies, BundleArchive bundles, SealOpener? open, int maxDifferences) : IDecisionWork
{
    private readonly RecordedDecision _record = new();
    private readonly Verdicts _verdicts = new();
    private readonly ScoreTable _rescored = new();
    private int[] _ruleOf = [];
    private ulong[] _bits = [];
    private byte[] _digests = [];
    private bool _missed;

    public ReplayReport Report { get; } = new(maxDifferences);

    public void Take(ReadOnlySpan<byte> record)
    {
        Report.Decisions++;
        _missed = false;
        if (_record.TryRead(record, open) is { } problem)
        {
            Ledger.RecordFields.TryRead(record, out var fields);
            Report.Miss("unreadable", new ReplayMiss(fields.StreamId, fields.Sequence, problem));
            return;
        }

        Report.Candidates += _record.Count;
        var before = Report.DifferenceCount;
        var policy = policies.Find(_record[_record.PolicyRevision]);
        if (policy is null)
        {
            Miss("policy not found", $"no policy at hand has revision {_record.Text(_record.PolicyRevision)} ('{_record.Text(_record.Policy)}')");
        }
        else if (policy.Withheld(_record) is { } path)
        {
            Miss($"withheld: {path}", $"rules read {path}, which the record has masked or sealed");
        }
        else if (IsMadeFor(policy))
        {
            Decide(policy);
        }

        CompareRemembered(policy);
        Rescore();
        if (Report.DifferenceCount != before)
        {
            Report.Different++;
        }
        else if (!_missed)
        {
            Report.Equal++;
        }
    }

    private void Decide(ArchivedPolicy policy)
    {
        if (policy.Policy.ReadsLanguage)
        {
            _record.UseLanguages();
        }

        if (policy.Policy.Refuses(_record.Scores))
        {
            Differ("answer", "given", "refused, because every classifier was down");
        }

        policy.Policy.Decide(_record.Batch, _record.Scores, _record.UnixMilliseconds, _verdicts);
        CompareRules(policy);
        Compare("action", CollectionsMarshal.AsSpan(_record.Actions), _verdicts.Actions);
        Compare("basis", CollectionsMarshal.AsSpan(_record.Bases), _verdicts.Bases);
        CompareMargins();
        CompareShadows(policy);
    }

    // Names and fail modes of classifiers in the policy's order: what the rows of scores stand for.
    private bool IsMadeFor(ArchivedPolicy policy)
    {
        var before = Report.DifferenceCount;
        if (!_record[_record.Policy].SequenceEqual(Encoding.UTF8.GetBytes(policy.Policy.Name)))
        {
            Differ("policy", _record.Text(_record.Policy), policy.Policy.Name);
        }

        if (!policy.NamesSurface(_record[_record.Batch.Surface]))
        {
            Differ("surface", _record.Text(_record.Batch.Surface), "not one of the policy's surfaces");
        }

        var recorded = CollectionsMarshal.AsSpan(_record.Classifiers);
        var same = recorded.Length == policy.ClassifierNames.Length;
        for (var i = 0; same && i < recorded.Length; i++)
        {
            same = _record[recorded[i].Name].SequenceEqual(policy.ClassifierNames[i]) && recorded[i].FailMode == policy.Policy.Classifiers[i].FailMode;
        }

        if (!same)
        {
            Differ("classifiers", DescribeClassifiers(), string.Join(", ", policy.Policy.Classifiers.Select(static one => $"{one.Name} ({one.FailMode})")));
        }

        return Report.DifferenceCount == before;
    }

    private string DescribeClassifiers()
    {
        var names = new List<string>();
        foreach (var classifier in _record.Classifiers)
        {
            names.Add($"{_record.Text(classifier.Name)} ({classifier.FailMode})");
        }

        return string.Join(", ", names);
    }

    private void CompareRules(ArchivedPolicy policy)
    {
        var recorded = CollectionsMarshal.AsSpan(_record.Rules);
        if (_ruleOf.Length < recorded.Length)
        {
            _ruleOf = new int[recorded.Length];
        }

        for (var i = 0; i < recorded.Length; i++)
        {
            _ruleOf[i] = ArchivedPolicy.IndexOf(policy.Rules, _record[recorded[i].Id]);
            if (_ruleOf[i] >= 0)
            {
                CompareTerms(recorded[i], policy.Rules[_ruleOf[i]]);
            }
        }

        var indexes = CollectionsMarshal.AsSpan(_record.RuleIndexes);
        var rules = _verdicts.Rules;
        for (var candidate = 0; candidate < indexes.Length; candidate++)
        {
            if (_ruleOf[indexes[candidate]] != rules[candidate])
            {
                Differ("rule", _record.Text(recorded[(int)indexes[candidate]].Id), policy.Policy.Rules[rules[candidate]].Id, candidate);
            }
        }
    }

    // What the record's table says of a rule: the answer said the same.
    private void CompareTerms(in RecordedRule recorded, RuleTerms rule)
    {
        if (recorded.Action != rule.Action || recorded.Severity != rule.Severity || recorded.MinimumAge != rule.MinimumAge
            || BitConverter.SingleToUInt32Bits(recorded.DemoteFactor) != BitConverter.SingleToUInt32Bits(rule.DemoteFactor)
            || !_record[recorded.ReasonCode].SequenceEqual(rule.ReasonCode) || !_record[recorded.Label].SequenceEqual(rule.Label))
        {
            Differ(
                $"terms of rule {_record.Text(recorded.Id)}",
                $"{recorded.Action} {_record.Text(recorded.ReasonCode)} {recorded.Severity} {recorded.DemoteFactor:R} '{_record.Text(recorded.Label)}' {recorded.MinimumAge}",
                $"{rule.Action} {Encoding.UTF8.GetString(rule.ReasonCode)} {rule.Severity} {rule.DemoteFactor:R} '{Encoding.UTF8.GetString(rule.Label)}' {rule.MinimumAge}");
        }
    }

    private void Compare<T>(string field, ReadOnlySpan<T> recorded, ReadOnlySpan<T> recomputed)
        where T : unmanaged, Enum
    {
        if (MemoryMarshal.AsBytes(recorded).SequenceEqual(MemoryMarshal.AsBytes(recomputed)))
        {
            return;
        }

        for (var candidate = 0; candidate < recorded.Length; candidate++)
        {
            if (!EqualityComparer<T>.Default.Equals(recorded[candidate], recomputed[candidate]))
            {
                Differ(field, recorded[candidate].ToString(), recomputed[candidate].ToString(), candidate);
            }
        }
    }

    private void CompareMargins()
    {
        var recorded = CollectionsMarshal.AsSpan(_record.Margins);
        var recomputed = _verdicts.Margins;
        if (!MemoryMarshal.AsBytes(recorded).SequenceEqual(MemoryMarshal.AsBytes(recomputed)))
        {
            for (var candidate = 0; candidate < recorded.Length; candidate++)
            {
                CompareBits("margin", recorded[candidate], recomputed[candidate], candidate);
            }
        }
    }

    private void CompareBits(string field, float recorded, float recomputed, int candidate)
    {
        if (BitConverter.SingleToUInt32Bits(recorded) != BitConverter.SingleToUInt32Bits(recomputed))
        {
            Differ(field, Number(recorded), Number(recomputed), candidate);
        }
    }

    private void CompareShadows(ArchivedPolicy policy)
    {
        var words = Bitmap.Words(_record.Count);
        if (_bits.Length < words)
        {
            _bits = new ulong[words];
        }

        var matched = 0;
        for (var rule = 0; rule < policy.ShadowRules.Length; rule++)
        {
            var bits = _bits.AsSpan(0, words);
            bits.Clear();
            foreach (ref readonly var shadow in CollectionsMarshal.AsSpan(_record.Shadows))
            {
                if (_record[shadow.RuleId].SequenceEqual(policy.ShadowRules[rule].Id))
                {
                    matched++;
                    foreach (var candidate in _record.CandidatesOf(shadow))
                    {
                        Bitmap.Set(bits, (int)candidate);
                    }
                }
            }

            CompareShadow(policy.Policy.ShadowRules[rule].Id, bits, _verdicts.Shadow(rule));
        }

        if (matched != _record.Shadows.Count)
        {
            Differ("shadows", $"{_record.Shadows.Count} shadow rules", $"{matched} of them are in the policy");
        }
    }

    private void CompareShadow(string rule, ReadOnlySpan<ulong> recorded, ReadOnlySpan<ulong> recomputed)
    {
        if (recorded.SequenceEqual(recomputed))
        {
            return;
        }

        for (var candidate = 0; candidate < _record.Count; candidate++)
        {
            if (Bitmap.Get(recorded, candidate) != Bitmap.Get(recomputed, candidate))
            {
                Differ($"shadow {rule}", Matched(Bitmap.Get(recorded, candidate)), Matched(Bitmap.Get(recomputed, candidate)), candidate);
            }
        }
    }

    private static string Matched(bool value) => value ? "matched" : "not matched";

    private static string Number(float value) => value.ToString("R", System.Globalization.CultureInfo.InvariantCulture);

    private void Differ(string field, string recorded, string recomputed, int candidate = -1) => Report.Add(new ReplayDifference(
        _record.Stream, _record.Epoch, _record.Sequence, _record.Text(_record.Batch.RequestId), candidate,
        candidate < 0 ? "" : _record.Text(_record.Batch.Ids[candidate]), field, recorded, recomputed));

    private void Miss(string reason, string text)
    {
        _missed = true;
        Report.Miss(reason, new ReplayMiss(_record.Stream, _record.Sequence, text));
    }
}
