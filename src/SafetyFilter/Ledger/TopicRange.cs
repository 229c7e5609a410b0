using System.Globalization;
using Confluent.Kafka;

namespace SafetyFilter.Ledger;

/// <summary>A place in every partition of a topic: an offset, or the first message at or after a time. Neither: the topic's own start or end.</summary>
internal readonly record struct TopicPlace(long? Offset, DateTimeOffset? Time)
{
    private const string OffsetStart = "offset:";

    /// <summary>Reads <c>offset:123</c> or ISO 8601; a time without an offset is UTC.</summary>
    public static bool TryParse(string text, out TopicPlace place)
    {
        if (text.StartsWith(OffsetStart, StringComparison.Ordinal))
        {
            var isNumber = long.TryParse(text.AsSpan(OffsetStart.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var offset);
            place = new TopicPlace(offset, null);
            return isNumber;
        }

        var isTime = DateTimeOffset.TryParse(
            text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var time);
        place = new TopicPlace(null, time);
        return isTime;
    }
}

/// <summary>The messages of one partition from First to before End.</summary>
internal readonly record struct PartitionRange(TopicPartition Partition, long First, long End)
{
    /// <summary>Asks the brokers where a topic's partitions begin and end between two places.</summary>
    public static List<PartitionRange> Find(
        IConsumer<Ignore, byte[]> consumer, IReadOnlyList<TopicPartition> partitions, TopicPlace from, TopicPlace to, TimeSpan patience)
    {
        var firsts = OffsetsAt(consumer, partitions, from, patience);
        var ends = OffsetsAt(consumer, partitions, to, patience);
        var found = new List<PartitionRange>(partitions.Count);
        for (var index = 0; index < partitions.Count; index++)
        {
            var whole = consumer.QueryWatermarkOffsets(partitions[index], patience);
            var end = Math.Min(ends[index] ?? long.MaxValue, whole.High.Value);
            found.Add(new PartitionRange(partitions[index], Math.Clamp(firsts[index] ?? 0, whole.Low.Value, Math.Max(end, whole.Low.Value)), end));
        }

        return found;
    }

    private static long?[] OffsetsAt(IConsumer<Ignore, byte[]> consumer, IReadOnlyList<TopicPartition> partitions, TopicPlace place, TimeSpan patience)
    {
        if (place.Time is not { } time)
        {
            return [.. partitions.Select(_ => place.Offset)];
        }

        var found = consumer.OffsetsForTimes(
            partitions.Select(partition => new TopicPartitionTimestamp(partition, new Timestamp(time.ToUnixTimeMilliseconds(), TimestampType.CreateTime))), patience);

        // Past the last message the answer is the end, which is a special value below zero.
        return [.. partitions.Select(partition => found.Find(one => one.TopicPartition == partition)?.Offset.Value is { } offset and >= 0 ? offset : (long?)long.MaxValue)];
    }
}
