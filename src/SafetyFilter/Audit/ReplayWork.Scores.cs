using System.Runtime.InteropServices;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Audit;

/// <summary>The part that asks the models again, where the record has what they read.</summary>
internal sealed partial class ReplayWork
{
    private void Rescore()
    {
        if (!_record.HasInputs)
        {
            return;
        }

        CompareDigests();
        _rescored.Reset(_record.Classifiers.Count, _record.Count);
        var whole = true;
        for (var bundle = 0; bundle < _record.Bundles.Count; bundle++)
        {
            whole &= Rescore(bundle);
        }

        Report.Rescored += whole ? 1 : 0;
    }

    private bool Rescore(int index)
    {
        var recorded = _record.Bundles[index];

        // What failed by fault, breaker, budget or load is as it was: nothing can be asked again.
        if (recorded.Failure is not (FailureKind.None or FailureKind.MissingFeature or FailureKind.FeatureMismatch))
        {
            return true;
        }

        if (bundles.Find(_record[recorded.ModelSha256]) is not { } bundle)
        {
            Miss("bundle not found", $"no bundle at hand has the model {Convert.ToHexStringLower(_record[recorded.ModelSha256])} ('{_record.Text(recorded.Name)}' {_record.Text(recorded.Version)})");
            return false;
        }

        Span<int> rows = stackalloc int[bundle.Classifiers.Length];
        FindRows(bundle, index, rows);
        var outcome = bundle.Score(_record.Batch, _rescored, rows);
        if (outcome.Failure != recorded.Failure)
        {
            Differ($"outcome of {bundle.Name}", recorded.Failure.ToString(), outcome.Failure.ToString());
        }
        else if (outcome.Failure == FailureKind.None)
        {
            CompareRows(rows);
        }

        return true;
    }

    private void FindRows(ModelBundle bundle, int index, Span<int> rows)
    {
        var classifiers = CollectionsMarshal.AsSpan(_record.Classifiers);
        for (var output = 0; output < rows.Length; output++)
        {
            rows[output] = -1;
            for (var row = 0; row < classifiers.Length; row++)
            {
                if (classifiers[row].Bundle == index && System.Text.Ascii.Equals(_record[classifiers[row].Name], bundle.Classifiers[output]))
                {
                    rows[output] = row;
                }
            }
        }
    }

    private void CompareRows(ReadOnlySpan<int> rows)
    {
        foreach (var row in rows)
        {
            if (row >= 0)
            {
                ForgetRemembered(row);
                CompareBits($"score {_record.Text(_record.Classifiers[row].Name)}", _record.Scores.Row(row), _rescored.Row(row));
                CompareFailures(row);
            }
        }
    }

    // The model had no score for these, and has none now. The verdicts have been compared by then.
    private void ForgetRemembered(int row)
    {
        var failures = _record.Scores.Failures(row);
        for (var candidate = 0; candidate < failures.Length; candidate++)
        {
            if (failures[candidate] != FailureKind.None)
            {
                _record.Scores.Row(row)[candidate] = float.NaN;
            }
        }
    }

    private void CompareFailures(int row)
    {
        foreach (ref readonly var degradation in CollectionsMarshal.AsSpan(_record.Degradations))
        {
            if (degradation.Classifier != row)
            {
                continue;
            }

            var candidates = _record.CandidatesOf(degradation);
            if (candidates.Length == 0)
            {
                // None named means all.
                for (var candidate = 0; candidate < _record.Count; candidate++)
                {
                    CompareFailure(row, candidate, degradation.Failure);
                }
            }

            foreach (var candidate in candidates)
            {
                CompareFailure(row, (int)candidate, degradation.Failure);
            }
        }
    }

    private void CompareFailure(int row, int candidate, FailureKind recorded)
    {
        var failure = _rescored.Failures(row)[candidate];
        if (failure != recorded)
        {
            Differ($"failure of {_record.Text(_record.Classifiers[row].Name)}", recorded.ToString(), failure.ToString(), candidate);
        }
    }

    private void CompareDigests()
    {
        if (_record.InputDigests.IsEmpty)
        {
            return;
        }

        var length = _record.Count * InputDigest.Size;
        if (_digests.Length < length)
        {
            _digests = new byte[length];
        }

        InputDigest.Compute(_record.Batch, _digests);
        if (!_record[_record.InputDigests].SequenceEqual(_digests.AsSpan(0, length)))
        {
            // No difference by itself: the digest is over all features that were sent, and captured are those that models read.
            Miss("input digest", "the captured inputs have other digests than the record: the request had more features than models read, or they are not what was sent");
        }
    }
}
