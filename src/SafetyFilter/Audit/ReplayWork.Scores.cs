using System.Runtime.InteropServices;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Audit;

/// <summary>The part that asks the models again, where the record has what they read.</summary>
internal sealed partial class ReplayWork
{
    // Candidates of the bundle at hand: those that its recorded run had, and those whose scores were remembered.
    private readonly List<int> _run = [];
    private readonly List<int> _remembered = [];

    // Remembered scores need not be equal bit for bit, so that a record may claim them only where there can be any.
    private void CompareRemembered(ArchivedPolicy? policy)
    {
        var isOff = policy is { Policy.UsesVerdictCache: false };
        var isTold = !_record.Withholds("content_versions"u8);
        var versions = _record.Batch.ContentVersions.Slices;
        foreach (ref readonly var bundle in CollectionsMarshal.AsSpan(_record.Bundles))
        {
            for (var candidate = 0; candidate < _record.Count; candidate++)
            {
                if (!_record.IsRemembered(bundle, candidate))
                {
                    continue;
                }

                if (isOff)
                {
                    DifferRemembered(bundle, candidate, "the policy does not say verdict_cache: on");
                }
                else if (isTold && (versions.Length == 0 || versions[candidate].IsEmpty))
                {
                    DifferRemembered(bundle, candidate, "the candidate has no content version");
                }
            }
        }
    }

    private void DifferRemembered(in RecordedBundle bundle, int candidate, string why) =>
        Differ("remembered", $"scores of {_record.Text(bundle.Name)}", $"none, because {why}", candidate);

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
        Split(recorded);

        // What failed by fault, breaker, budget or load is as it was: nothing can be asked again.
        var asksRun = recorded.Failure is FailureKind.None or FailureKind.MissingFeature or FailureKind.FeatureMismatch && _run.Count > 0;
        if (!asksRun && _remembered.Count == 0)
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
        if (asksRun)
        {
            RepeatRun(bundle, recorded, rows);
        }

        if (_remembered.Count > 0)
        {
            CheckRemembered(bundle, rows);
        }

        return true;
    }

    // The bundle ran over these, in one batch or in parts of them, and over no others.
    private void Split(in RecordedBundle recorded)
    {
        _run.Clear();
        _remembered.Clear();
        for (var candidate = 0; candidate < _record.Count; candidate++)
        {
            (_record.IsRemembered(recorded, candidate) ? _remembered : _run).Add(candidate);
        }
    }

    // The same candidates in the same batches: every bit has to come again.
    private void RepeatRun(ModelBundle bundle, in RecordedBundle recorded, ReadOnlySpan<int> rows)
    {
        var outcome = default(ScoringOutcome);
        var run = CollectionsMarshal.AsSpan(_run);
        var parts = (int)Math.Max(1, recorded.Parts);
        for (var part = 0; part < parts && outcome.Failure == FailureKind.None; part++)
        {
            var isWhole = parts == 1 && _remembered.Count == 0;
            var picked = isWhole ? default : run[RunSplitter.StartOf(part, parts, run.Length)..RunSplitter.StartOf(part + 1, parts, run.Length)];
            outcome = bundle.Score(_record.Batch, _rescored, rows, picked);
        }

        if (outcome.Failure != recorded.Failure)
        {
            Differ($"outcome of {bundle.Name}", recorded.Failure.ToString(), outcome.Failure.ToString());
        }
        else if (outcome.Failure == FailureKind.None)
        {
            CompareRows(rows);
        }
    }

    // In which batch a remembered score was computed is not recorded, and last bits depend on it: as near as the bundle says of itself.
    private void CheckRemembered(ModelBundle bundle, ReadOnlySpan<int> rows)
    {
        var outcome = bundle.Score(_record.Batch, _rescored, rows, CollectionsMarshal.AsSpan(_remembered));
        if (outcome.Failure != FailureKind.None)
        {
            Differ($"remembered scores of {bundle.Name}", "given", outcome.Failure.ToString());
            return;
        }

        foreach (var row in rows)
        {
            if (row < 0)
            {
                continue;
            }

            foreach (var candidate in CollectionsMarshal.AsSpan(_remembered))
            {
                var (score, again) = (_record.Scores.Row(row)[candidate], _rescored.Row(row)[candidate]);
                if (Math.Abs(score - again) <= bundle.Tolerance)
                {
                    Report.Remembered++;
                }
                else
                {
                    // NaN too: what was remembered was a score.
                    Differ($"remembered score {_record.Text(_record.Classifiers[row].Name)}", Number(score), Number(again), candidate);
                }
            }
        }
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
                ForgetLastKnown(row);
                CompareScores(row);
                CompareFailures(row);
            }
        }
    }

    // The model had no score for these, and has none now. The verdicts have been compared by then.
    private void ForgetLastKnown(int row)
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

    private void CompareScores(int row)
    {
        var field = $"score {_record.Text(_record.Classifiers[row].Name)}";
        var recorded = _record.Scores.Row(row);
        var recomputed = _rescored.Row(row);
        foreach (var candidate in CollectionsMarshal.AsSpan(_run))
        {
            CompareBits(field, recorded[candidate], recomputed[candidate], candidate);
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
