namespace SafetyFilter.Ledger;

/// <param name="source">The segment file, or topic and partition.</param>
/// <param name="position">The byte offset in the file, or the message's offset in the partition.</param>
/// <param name="type">As frame or header say; null when they do not.</param>
/// <param name="record">Valid during the call.</param>
internal delegate void RecordVisitor(string source, long position, RecordType? type, ReadOnlySpan<byte> record);

internal delegate void DamageVisitor(in SpoolDamage damage);

/// <summary>Where an auditor finds records: files (<see cref="SpoolSource"/>) or a topic (<see cref="TopicSource"/>).</summary>
internal interface ILedgerSource
{
    /// <summary>Visits what there is now, each stream in the order in which it lies. Null when all was read; otherwise why not.</summary>
    /// <param name="damaged">Only files have damage.</param>
    string? Read(RecordVisitor visit, DamageVisitor damaged, CancellationToken stop);
}
