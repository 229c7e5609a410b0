namespace SafetyFilter.Ledger.Verify;

/// <summary>Where a record lies.</summary>
internal readonly record struct RecordPlace(string Source, long Position, Guid StreamId, ulong Sequence);

/// <summary>What the rules found. Keeps the first so many and counts the rest.</summary>
internal sealed class Verdict(int limit)
{
    private readonly List<LedgerFinding> _findings = [];
    private readonly List<string> _notes = [];

    public long FindingCount { get; private set; }

    public IReadOnlyList<LedgerFinding> Findings => _findings;

    public IReadOnlyList<string> Notes => _notes;

    public void Find(FindingKind kind, in RecordPlace place, string text)
    {
        FindingCount++;
        if (_findings.Count < limit)
        {
            _findings.Add(new LedgerFinding(kind, place.Source, place.Position, place.StreamId, place.Sequence, text));
        }
    }

    public void Note(string text)
    {
        if (_notes.Count < limit)
        {
            _notes.Add(text);
        }
        else if (_notes.Count == limit)
        {
            _notes.Add("there is more to note, which is not kept");
        }
    }
}
