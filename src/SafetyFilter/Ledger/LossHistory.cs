using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>What the records of a stream say of losses: for a <see cref="LossPage"/> that does not know.</summary>
internal static class LossHistory
{
    /// <summary>The highest total that the newest segment tells; checkpoints say it every second.</summary>
    public static ulong NewestTotal(string streamFolder)
    {
        var segments = SpoolFolder.Segments(streamFolder);
        ulong total = 0;
        if (segments.Count > 0)
        {
            using var reader = SpoolReader.OpenSegment(segments[^1].Path);
            while (reader.Read() is var read && read != SpoolRead.End)
            {
                total = read == SpoolRead.Record ? Math.Max(total, TotalOf(reader)) : total;
            }
        }

        return total;
    }

    /// <summary>Whether a Loss record from that sequence on tells this total.</summary>
    public static bool Tells(string streamFolder, ulong from, ulong total)
    {
        using var reader = SpoolReader.OpenStream(streamFolder, from);
        while (reader.Read() is var read && read != SpoolRead.End)
        {
            if (read == SpoolRead.Record && reader.Type == RecordType.Loss && TotalOf(reader) >= total)
            {
                return true;
            }
        }

        return false;
    }

    private static ulong TotalOf(SpoolReader reader) => reader.Type switch
    {
        RecordType.Loss => Loss.Parser.ParseFrom(reader.Payload).TotalDecisions,
        RecordType.Checkpoint => Checkpoint.Parser.ParseFrom(reader.Payload).LostTotal,
        RecordType.EpochStart => EpochStart.Parser.ParseFrom(reader.Payload).LostTotal,
        _ => 0,
    };
}
