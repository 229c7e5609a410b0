using System.Text;
using System.Text.Json;

namespace SafetyFilter.Ledger;

/// <summary>How far Kafka has acknowledged a stream without a hole, and where it is published.</summary>
/// <param name="CheckpointTopic">Where its checkpoints go besides; empty when nowhere.</param>
internal sealed record PublishCursor(
    ulong PublishedThrough, string Topic, int Partition, string CheckpointTopic = "", int CheckpointPartition = -1)
{
    private const string FileName = "cursor.json";

    /// <summary>Null when the stream was never published, or the file is damaged: the spool is then published from its start.</summary>
    public static PublishCursor? Read(string streamFolder)
    {
        var path = Path.Combine(streamFolder, FileName);
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(path));
            var root = json.RootElement;
            return new PublishCursor(
                root.GetProperty("published_through").GetUInt64(),
                root.GetProperty("topic").GetString() ?? "",
                root.GetProperty("partition").GetInt32(),
                root.TryGetProperty("checkpoint_topic", out var checkpoints) ? checkpoints.GetString() ?? "" : "",
                root.TryGetProperty("checkpoint_partition", out var partition) ? partition.GetInt32() : -1);
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException or FormatException or InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>0 or the errno.</summary>
    public int Write(string streamFolder)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            writer.WriteStartObject();
            writer.WriteNumber("published_through", PublishedThrough);
            writer.WriteString("topic", Topic);
            writer.WriteNumber("partition", Partition);
            if (CheckpointTopic.Length > 0)
            {
                writer.WriteString("checkpoint_topic", CheckpointTopic);
                writer.WriteNumber("checkpoint_partition", CheckpointPartition);
            }

            writer.WriteEndObject();
        }

        return SpoolFolder.Replace(Path.Combine(streamFolder, FileName), stream.ToArray());
    }
}
