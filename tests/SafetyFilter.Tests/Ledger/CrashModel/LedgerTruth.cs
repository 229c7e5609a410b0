using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger.CrashModel;

/// <summary>What was appended to a spool and what of it was promised to survive a loss of power.</summary>
internal sealed class LedgerTruth
{
    private readonly Dictionary<ulong, (uint Epoch, UInt128 Leaf)> _records = [];
    private readonly HashSet<(string Segment, long Offset)> _damages = [];

    /// <summary>The newest record of all runs.</summary>
    public ulong Last { get; private set; }

    /// <summary>Every record up to here that <see cref="Has"/> knows must survive.</summary>
    public ulong Promised { get; private set; }

    /// <summary>The highest that a cursor, durable or not, ever said.</summary>
    public ulong Published { get; set; }

    /// <summary>What may be deleted: a cursor saying so is durable.</summary>
    public ulong Deletable { get; set; }

    /// <summary>What was never promised may be missing then without a Gap record: the publisher writes it when it comes there.</summary>
    public bool DiskFailed { get; set; }

    public uint Epoch { get; private set; }

    public bool Has(ulong sequence) => _records.ContainsKey(sequence);

    /// <summary>Takes what was appended since the last call from the files of the running spool.</summary>
    public void ReadOn(Spool spool, TreeLeaf leaf)
    {
        using (var reader = SpoolReader.OpenStream(spool.StreamFolder, from: Last + 1, follow: true))
        {
            ReadOn(reader, leaf);
        }

        // Taken already, and named by the next step of the sync thread.
        foreach (var spare in Directory.EnumerateFiles(spool.StreamFolder, "*" + SpoolFolder.SpareExtension).Order(StringComparer.Ordinal))
        {
            using var reader = SpoolReader.OpenSegment(spare);
            ReadOn(reader, leaf);
        }

        Promised = Math.Max(Promised, spool.DurableSequence);
        Assert.Equal(spool.WrittenSequence, Last);
    }

    private void ReadOn(SpoolReader reader, TreeLeaf leaf)
    {
        while (reader.Read() is var read && read != SpoolRead.End)
        {
            if (read == SpoolRead.Record && reader.Sequence > Last)
            {
                Add(reader, leaf);
            }
        }
    }

    /// <summary>Compares what a start left with what must be there. The first thing that is wrong, in words; null when all is well.</summary>
    public string? Compare(Spool recovered, TreeLeaf leaf)
    {
        var recovery = recovered.Recovery;
        if (recovered.Epoch <= Epoch)
        {
            return $"epoch {recovered.Epoch} was used before: {Epoch} is the last";
        }

        var floor = Math.Max(Promised, Deletable);
        if (recovery.LastSequence < floor)
        {
            return $"numbers go on after {recovery.LastSequence}, but {floor} is durable";
        }

        var found = new HashSet<ulong>();
        using (var reader = SpoolReader.OpenStream(recovered.StreamFolder))
        {
            while (reader.Read() is var read && read != SpoolRead.End)
            {
                if (read == SpoolRead.Damage)
                {
                    if (Unexplained(reader.Damage.Path, reader.Damage.Offset, reader.Damage.AfterSequence))
                    {
                        return $"damage {reader.Damage}";
                    }
                }
                else if (_records.TryGetValue(reader.Sequence, out var known) && (reader.Epoch, leaf.Of(reader.Payload)) == known)
                {
                    found.Add(reader.Sequence);
                }
                else if (reader.Epoch <= Epoch && reader.Sequence > Deletable)
                {
                    return $"record {reader.Epoch}/{reader.Sequence} is none that was appended";
                }
            }
        }

        var lost = _records.Keys.Where(sequence => sequence <= Promised && sequence > Deletable && !found.Contains(sequence)).Order().ToList();
        return lost.Count > 0 ? $"{lost.Count} promised records are lost, {lost[0]} to {lost[^1]}, of {Promised}" : CompareFindings(recovered);
    }

    /// <summary>What a start left is the truth from now on, and is promised: recovery made it durable.</summary>
    public void Restart(Spool recovered, TreeLeaf leaf)
    {
        _records.Clear();
        Last = 0;
        using var reader = SpoolReader.OpenStream(recovered.StreamFolder, follow: true);
        while (reader.Read() is var read && read != SpoolRead.End)
        {
            if (read == SpoolRead.Damage)
            {
                _damages.Add((Path.GetFileName(reader.Damage.Path), reader.Damage.Offset));
            }
            else
            {
                Add(reader, leaf);
            }
        }

        Promised = recovered.Recovery.LastSequence;
        Epoch = recovered.Epoch;
    }

    private void Add(SpoolReader reader, TreeLeaf leaf)
    {
        _records[reader.Sequence] = (reader.Epoch, leaf.Of(reader.Payload));
        Last = reader.Sequence;
        Epoch = Math.Max(Epoch, reader.Epoch);
    }

    private string? CompareFindings(Spool recovered)
    {
        // Gap records count once a checkpoint covers them.
        recovered.Keeper.TrySync(closing: false);
        recovered.Notary.Step();
        using var verifier = new LedgerVerifier();
        verifier.AddSpool(Path.GetDirectoryName(recovered.StreamFolder)!, out _);

        // What is damaged was never promised: that was seen above. What is published may be gone, and where a loss of power
        // undoes the deletion of some segments only, in any order. Everything else has to be admitted by now.
        var unexplained = verifier.Findings
            .Where(finding => finding.Kind != FindingKind.Damage && (finding.Kind != FindingKind.Gap || (finding.Sequence > Deletable && !DiskFailed)))
            .Where(static finding => !finding.Text.StartsWith("the oldest record here", StringComparison.Ordinal)).ToList();
        return unexplained.Count == 0 ? null : string.Join('\n', unexplained);
    }

    private bool Unexplained(string path, long offset, ulong after) =>
        after < Promised && after >= Deletable && !_damages.Contains((Path.GetFileName(path), offset));
}
