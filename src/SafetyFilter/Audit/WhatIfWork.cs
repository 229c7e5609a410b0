using System.Text;
using SafetyFilter.Decisions;

namespace SafetyFilter.Audit;

/// <summary>What is asked: the new policies, for which surface, as of when.</summary>
/// <param name="Proposed">The policies to try; a decision goes to the one that names its surface.</param>
/// <param name="Recorded">The policies that decided, as far as they are at hand: they tell what a record would have if it had been sent.</param>
/// <param name="Surface">Only this one; null for all that the policies name.</param>
/// <param name="AsOf">Which rules have expired, Unix milliseconds; null for each decision's own time.</param>
/// <param name="Now">Which rules of the recorded policies have expired since, Unix milliseconds.</param>
internal sealed record WhatIfQuestion(
    IReadOnlyList<ArchivedPolicy> Proposed, PolicyArchive Recorded, string? Surface, long? AsOf, long Now, int Examples);

/// <summary>Decides recorded requests under another policy, from the recorded scores. Used by one thread.</summary>
internal sealed class WhatIfWork(WhatIfQuestion question, SealOpener? open) : IDecisionWork
{
    private readonly byte[]? _onlySurface = question.Surface is { } surface ? Encoding.UTF8.GetBytes(surface) : null;
    private readonly RecordedDecision _record = new();
    private readonly Verdicts _verdicts = new();
    private readonly ScoreTable _scores = new();
    private int[] _sameRule = [];

    public WhatIfReport Report { get; } = new(question.Examples);

    public void Take(ReadOnlySpan<byte> record)
    {
        if (_record.TryRead(record, open) is not null)
        {
            Report.Miss("unreadable");
            return;
        }

        if (Proposed() is not { } policy)
        {
            Report.Elsewhere++;
            return;
        }

        var recorded = question.Recorded.Find(_record[_record.PolicyRevision]);
        if (recorded?.Policy.ReadsLanguage ?? policy.Policy.ReadsLanguage)
        {
            _record.UseLanguages();
        }

        if ((Lacks(policy, recorded) ?? MapScores(policy)) is { } reason)
        {
            Report.Miss(reason);
            return;
        }

        if (policy.Policy.Refuses(_scores))
        {
            Report.Miss("every classifier was down, and the policy gives no answer then");
            return;
        }

        policy.Policy.Decide(_record.Batch, _scores, question.AsOf ?? _record.UnixMilliseconds, _verdicts);
        Report.Decisions++;
        Report.Candidates += _record.Count;
        Compare(policy, recorded);
        if (recorded is not null)
        {
            CountExpired(recorded);
        }
    }

    private ArchivedPolicy? Proposed()
    {
        var surface = _record[_record.Batch.Surface];
        if (_onlySurface is not null && !surface.SequenceEqual(_onlySurface))
        {
            return null;
        }

        foreach (var policy in question.Proposed)
        {
            if (policy.NamesSurface(surface))
            {
                return policy;
            }
        }

        return null;
    }

    // A record has only what the policy read that decided. What it lacks was not sent only if that policy read it.
    private string? Lacks(ArchivedPolicy policy, ArchivedPolicy? recorded)
    {
        if (policy.Withheld(_record) is { } path)
        {
            return $"{path} is masked or sealed";
        }

        foreach (var attribute in policy.Policy.Attributes)
        {
            if (_record.Batch.FindAttribute(attribute.Utf8Name.Span) is null
                && recorded?.Policy.Attributes.Any(known => known.Name == attribute.Name) is not true)
            {
                return $"attribute {attribute.Name} is not recorded";
            }
        }

        return policy.Policy.ReadsLanguage && _record.Batch.Languages.Count == 0 && recorded?.Policy.ReadsLanguage is not true
            ? "languages are not recorded"
            : null;
    }

    private string? MapScores(ArchivedPolicy policy)
    {
        _scores.Reset(policy.ClassifierNames.Length, _record.Count);
        for (var row = 0; row < policy.ClassifierNames.Length; row++)
        {
            var found = -1;
            for (var i = 0; i < _record.Classifiers.Count && found < 0; i++)
            {
                found = _record[_record.Classifiers[i].Name].SequenceEqual(policy.ClassifierNames[row]) ? i : -1;
            }

            if (found < 0)
            {
                return $"classifier {policy.Policy.Classifiers[row].Name} is not recorded";
            }

            _record.Scores.Row(found).CopyTo(_scores.Row(row));
            if (_record.Scores.IsIncomplete(found))
            {
                CopyMarks(found, row, policy.Policy.Classifiers[row].FailMode == FailMode.LastKnown);
            }
        }

        return null;
    }

    // What was remembered helps only a policy that asks for it. What would have been is not in the record.
    private void CopyMarks(int found, int row, bool remembers)
    {
        var failures = _record.Scores.Failures(found);
        for (var candidate = 0; candidate < failures.Length; candidate++)
        {
            if (failures[candidate] == FailureKind.None)
            {
                continue;
            }

            if (remembers)
            {
                _scores.Mark(row, candidate, failures[candidate]);
            }
            else
            {
                _scores.Fail(row, candidate, failures[candidate]);
            }
        }
    }

    private void Compare(ArchivedPolicy policy, ArchivedPolicy? recorded)
    {
        FindSameRules(policy);
        var surface = Report.Surface(_record.Text(_record.Batch.Surface));
        surface.Decisions++;
        for (var candidate = 0; candidate < _record.Count; candidate++)
        {
            var old = (int)_record.RuleIndexes[candidate];
            var now = _verdicts.Rules[candidate];
            surface.Before[(int)_record.Rules[old].Action]++;
            surface.After[(int)policy.Rules[now].Action]++;
            if (_sameRule[old] != now)
            {
                Count(policy, recorded, candidate, _record.Rules[old], policy.Rules[now]);
            }
        }
    }

    // The rules that the new policy has unchanged in what they do: most candidates stay with theirs.
    private void FindSameRules(ArchivedPolicy policy)
    {
        if (_sameRule.Length < _record.Rules.Count)
        {
            _sameRule = new int[_record.Rules.Count];
        }

        for (var i = 0; i < _record.Rules.Count; i++)
        {
            var index = ArchivedPolicy.IndexOf(policy.Rules, _record[_record.Rules[i].Id]);
            _sameRule[i] = index >= 0 && DirectionOf(_record.Rules[i], policy.Rules[index]) == ChangeDirection.RuleOnly ? index : -1;
        }
    }

    private void Count(ArchivedPolicy policy, ArchivedPolicy? recorded, int candidate, in RecordedRule old, RuleTerms now)
    {
        var oldRule = _record.Text(old.Id);
        var newRule = Encoding.UTF8.GetString(now.Id);
        var change = new WhatIfChange(
            _record.Text(_record.Batch.Surface), oldRule, newRule, old.Action, now.Action, DirectionOf(old, now));
        if (Report.Count(change, out var group))
        {
            group.Examples.Add(new WhatIfExample(
                _record.Stream, _record.Sequence, _record.Text(_record.Batch.RequestId), _record.Text(_record.Batch.Ids[candidate]),
                ScoresOf(candidate, [.. Read(recorded, oldRule), .. Read(policy, newRule)]),
                ConditionWords.Of(recorded, oldRule), ConditionWords.Of(policy, newRule)));
        }
    }

    private static IEnumerable<string> Read(ArchivedPolicy? policy, string rule) =>
        policy is not null && policy.Conditions.TryGetValue(rule, out var condition) ? ConditionWords.Classifiers(condition) : [];

    private List<(string Classifier, float Score)> ScoresOf(int candidate, IReadOnlyCollection<string> classifiers)
    {
        var scores = new List<(string, float)>();
        for (var row = 0; row < _record.Classifiers.Count; row++)
        {
            var name = _record.Text(_record.Classifiers[row].Name);
            if (classifiers.Contains(name))
            {
                scores.Add((name, _record.Scores.Row(row)[candidate]));
            }
        }

        return scores;
    }

    private ChangeDirection DirectionOf(in RecordedRule old, RuleTerms now)
    {
        // Stronger actions, smaller factors and higher ages are stricter.
        var stricter = now.Action != old.Action ? now.Action.CompareTo(old.Action)
            : now.DemoteFactor != old.DemoteFactor ? old.DemoteFactor.CompareTo(now.DemoteFactor)
            : now.MinimumAge.CompareTo(old.MinimumAge);
        return stricter > 0 ? ChangeDirection.Stricter
            : stricter < 0 ? ChangeDirection.Laxer
            : _record[old.Label].SequenceEqual(now.Label) ? ChangeDirection.RuleOnly
            : ChangeDirection.Relabelled;
    }

    private void CountExpired(ArchivedPolicy recorded)
    {
        if (recorded.FirstExpiry > question.Now || !recorded.Policy.Rules.Any(rule => rule.Expires > _record.UnixMilliseconds && rule.Expires <= question.Now)
            || recorded.ClassifierNames.Length != _record.Classifiers.Count || recorded.Withheld(_record) is not null)
        {
            return;
        }

        recorded.Policy.Decide(_record.Batch, _record.Scores, question.Now, _verdicts);
        for (var candidate = 0; candidate < _record.Count; candidate++)
        {
            var old = _record.Rules[(int)_record.RuleIndexes[candidate]];
            if (!_record[old.Id].SequenceEqual(recorded.Rules[_verdicts.Rules[candidate]].Id))
            {
                Report.ChangedByExpiry++;
            }
        }
    }
}
