using System.Diagnostics;
using Confluent.Kafka;

namespace SafetyFilter.Ledger;

/// <summary>
/// Verifies those partitions of a topic that a consumer group gives to this worker, each with its own verifier, to what is their end when
/// they are assigned. A partition is committed when it is verified, so that a worker that joins later does not do it again;
/// one that is taken away before is begun anew by whoever gets it.
/// </summary>
internal sealed class TopicGroup(TopicSource source, string group, Func<LedgerVerifier> create) : IDisposable
{
    private readonly Dictionary<int, Share> _open = [];
    private readonly SortedSet<int> _finished = [];
    private readonly SortedSet<int> _alreadyDone = [];
    private readonly SortedSet<int> _lost = [];
    private readonly List<LedgerVerifier> _verified = [];
    private bool _isAssigned;
    private string? _trouble;

    /// <summary>One for each finished partition.</summary>
    public IReadOnlyList<LedgerVerifier> Verified => _verified;

    public IReadOnlyCollection<int> Finished => _finished;

    /// <summary>What the group had read to the end before. Whether with findings, the verdict of who read it tells.</summary>
    public IReadOnlyCollection<int> AlreadyDone => _alreadyDone;

    /// <summary>Taken away before their end: not finished by this worker.</summary>
    public IReadOnlyCollection<int> Lost => _lost;

    public long Records => _verified.Sum(static one => one.Records) + _open.Values.Sum(static one => one.Verifier.Records);

    public long Bytes => _verified.Sum(static one => one.Bytes) + _open.Values.Sum(static one => one.Verifier.Bytes);

    /// <summary>Returns when all partitions that it was given are done. Null when something was verified; otherwise why not.</summary>
    public string? Run(CancellationToken stop)
    {
        try
        {
            using var consumer = source.Consumer(group, error => _trouble = error)
                .SetPartitionsAssignedHandler(Assign)
                .SetPartitionsRevokedHandler((_, partitions) => Lose(partitions))
                .SetPartitionsLostHandler((_, partitions) => Lose(partitions))
                .Build();
            if (source.Partitions(consumer, out _) is { } problem)
            {
                return problem;
            }

            consumer.Subscribe(source.Topic);
            var failure = ReadAssigned(consumer, stop);
            consumer.Close();
            return failure ?? (_verified.Exists(static one => one.Records > 0)
                ? null
                : $"{source} has nothing to verify for this worker: group '{group}' has read partitions [{string.Join(' ', _alreadyDone)}] to their end before, " +
                  "and others have the rest. Their verdicts tell; another group name verifies all over again.");
        }
        catch (KafkaException error)
        {
            return $"'{source.BootstrapServers}' cannot be read: {_trouble ?? error.Error.Reason}.";
        }
        catch (Exception error) when (error is InvalidOperationException or ArgumentException)
        {
            return $"The Kafka settings are wrong: {error.Message}";
        }
    }

    public void Dispose()
    {
        foreach (var verifier in _verified.Concat(_open.Values.Select(static share => share.Verifier)))
        {
            verifier.Dispose();
        }
    }

    private string? ReadAssigned(IConsumer<Ignore, byte[]> consumer, CancellationToken stop)
    {
        // Joining a group takes as long as its members need to agree, at most their session timeout.
        var patience = TopicSource.Patience * 6;
        var heard = Stopwatch.GetTimestamp();
        while (!_isAssigned || _open.Count > 0)
        {
            stop.ThrowIfCancellationRequested();

            // Briefly: assignments come in here too, and are no message.
            var result = consumer.Consume(TimeSpan.FromMilliseconds(200));
            if (result is null)
            {
                if (Stopwatch.GetElapsedTime(heard) > patience)
                {
                    return $"'{source.BootstrapServers}' gave nothing for {patience.TotalSeconds:0} s: {_trouble ?? "no reason known"}.";
                }

                continue;
            }

            heard = Stopwatch.GetTimestamp();
            var partition = result.Partition.Value;
            if (!_open.TryGetValue(partition, out var share))
            {
                continue;
            }

            if (!result.IsPartitionEOF && result.Offset.Value < share.End)
            {
                share.Verifier.Add(source.NameOf(partition), result.Offset.Value, TopicSource.TypeOf(result), result.Message.Value ?? []);
            }

            if (result.IsPartitionEOF || result.Offset.Value >= share.End - 1)
            {
                Finish(consumer, result.TopicPartition, share);
            }
        }

        return null;
    }

    private void Finish(IConsumer<Ignore, byte[]> consumer, TopicPartition partition, Share share)
    {
        _open.Remove(partition.Partition.Value);
        share.Verifier.Finish();
        _verified.Add(share.Verifier);
        _finished.Add(partition.Partition.Value);
        consumer.Pause([partition]);
        try
        {
            consumer.Commit([new TopicPartitionOffset(partition, share.End)]);
        }
        catch (KafkaException)
        {
            // The group is being shared out anew: whoever gets the partition verifies it again, which does no harm.
        }
    }

    private IEnumerable<TopicPartitionOffset> Assign(IConsumer<Ignore, byte[]> consumer, List<TopicPartition> partitions)
    {
        _isAssigned = true;
        var begins = new List<TopicPartitionOffset>();
        foreach (var committed in partitions.Count == 0 ? [] : consumer.Committed(partitions, TopicSource.Patience))
        {
            var whole = consumer.QueryWatermarkOffsets(committed.TopicPartition, TopicSource.Patience);
            var number = committed.Partition.Value;
            var from = Math.Max(committed.Offset.Value >= 0 ? committed.Offset.Value : 0, whole.Low.Value);
            begins.Add(new TopicPartitionOffset(committed.TopicPartition, from));
            if (from < whole.High.Value)
            {
                _lost.Remove(number);
                _open[number] = new Share(create(), whole.High.Value);
            }
            else if (!_finished.Contains(number) && committed.Offset.Value > 0)
            {
                _alreadyDone.Add(number);
            }
        }

        return begins;
    }

    private void Lose(List<TopicPartitionOffset> partitions)
    {
        foreach (var partition in partitions)
        {
            if (_open.Remove(partition.Partition.Value, out var share))
            {
                share.Verifier.Dispose();
                _lost.Add(partition.Partition.Value);
            }
        }
    }

    private readonly record struct Share(LedgerVerifier Verifier, long End);
}
