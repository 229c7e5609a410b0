using System.Diagnostics;
using Confluent.Kafka;

namespace SafetyFilter.Ledger;

/// <summary>
/// Shares a topic's partitions out among workers that name the same consumer group. The group only leases: each partition that it gives to
/// this worker is read by an ordinary source of its own, one after another. When that is done the partition is committed, so that a worker
/// that joins later does not do it again, and only then counts what was found: so no two workers count the same. The work of a partition that is taken away
/// before is stopped or dropped, and whoever gets it begins anew.
/// </summary>
internal sealed class TopicGroup(TopicSource source, string group)
{
    private readonly Queue<PartitionRange> _waiting = new();
    private readonly SortedSet<int> _finished = [];
    private readonly SortedSet<int> _alreadyDone = [];
    private readonly SortedSet<int> _lost = [];

    // Read, and not committed yet: while a group is being shared out anew nobody can.
    private readonly List<(PartitionRange Range, PartitionWork Work)> _uncommitted = [];
    private Lease? _lease;
    private bool _isAssigned;
    private long? _emptySince;
    private long? _uncommittedSince;
    private string? _trouble;

    public IReadOnlyCollection<int> Finished => _finished;

    /// <summary>What the group had read to the end before. Whether with findings, the verdict of who read it tells.</summary>
    public IReadOnlyCollection<int> AlreadyDone => _alreadyDone;

    /// <summary>Taken away before their end: not finished by this worker.</summary>
    public IReadOnlyCollection<int> Lost => _lost;

    /// <summary>Returns when all partitions that it was given are done. Null when something was; otherwise why not.</summary>
    /// <param name="work">
    /// Reads one partition, on another thread than the caller's but never two at a time.
    /// </param>
    /// <param name="stop">Ends everything.</param>
    public string? Run(Func<TopicSource, CancellationToken, PartitionWork> work, CancellationToken stop)
    {
        try
        {
            using var consumer = source.Consumer(group, error => _trouble = error)
                .SetPartitionsAssignedHandler(Assign)
                .SetPartitionsRevokedHandler((revoking, partitions) =>
                {
                    Commit((IConsumer<Ignore, byte[]>)revoking);
                    Lose(partitions);
                })
                .SetPartitionsLostHandler((_, partitions) => Lose(partitions))
                .Build();
            if (source.FindPartitions(consumer, out _) is { } problem)
            {
                return problem;
            }

            consumer.Subscribe(source.Topic);
            var failure = WorkOnLeases(consumer, work, stop);
            consumer.Close();
            if (failure is not null)
            {
                // What it found there is lost with the rest, and the group would not read it again.
                return _finished.Count == 0
                    ? failure
                    : $"{failure} Group '{group}' takes partitions [{string.Join(' ', _finished)}] for done all the same: begin again with another group name.";
            }

            return _finished.Count > 0
                ? null
                : $"{source} has nothing for this worker: group '{group}' has read partitions [{string.Join(' ', _alreadyDone)}] to their end before, " +
                  "and others have the rest. Their answers tell; another group name reads all over again.";
        }
        catch (KafkaException error)
        {
            return $"'{source.BootstrapServers}' cannot be read: {_trouble ?? error.Error.Reason}.";
        }
        catch (Exception error) when (error is InvalidOperationException or ArgumentException)
        {
            return $"The Kafka settings are wrong: {error.Message}";
        }
        finally
        {
            _lease?.GiveUp();
            _uncommitted.ForEach(static one => one.Work.Drop?.Invoke());
        }
    }

    private string? WorkOnLeases(IConsumer<Ignore, byte[]> consumer, Func<TopicSource, CancellationToken, PartitionWork> work, CancellationToken stop)
    {
        // Joining a group takes as long as its members need to agree, at most their session timeout.
        var patience = TopicSource.Patience * 6;
        var started = Stopwatch.GetTimestamp();
        while (!_isAssigned || _lease is not null || _waiting.Count > 0 || _uncommitted.Count > 0)
        {
            stop.ThrowIfCancellationRequested();
            if (!_isAssigned && _emptySince is { } since && Stopwatch.GetElapsedTime(since) > TopicSource.Patience)
            {
                return null;
            }

            if (!_isAssigned && Stopwatch.GetElapsedTime(started) > patience)
            {
                return $"'{source.BootstrapServers}' gave nothing for {patience.TotalSeconds:0} s: {_trouble ?? "no reason known"}.";
            }

            if (_uncommittedSince is { } stuck && Stopwatch.GetElapsedTime(stuck) > patience)
            {
                return $"'{source.BootstrapServers}' takes no commit of group '{group}' for {patience.TotalSeconds:0} s: {_trouble ?? "no reason known"}.";
            }

            // Only to stay a member: assignments come in here, and messages are read elsewhere.
            consumer.Consume(TimeSpan.FromMilliseconds(100));
            consumer.Pause(consumer.Assignment);
            if (_lease is { IsDone: true } done)
            {
                _lease = null;
                var result = done.Result();
                if (result.Failure is not null)
                {
                    return result.Failure;
                }

                _uncommitted.Add((done.Range, result));
            }

            Commit(consumer);

            if (_lease is null && _waiting.TryDequeue(out var next))
            {
                var part = source with
                {
                    Partition = next.Partition.Partition.Value,
                    From = new TopicPlace(next.First, null),
                    To = new TopicPlace(next.End, null),
                };
                _lease = new Lease(next, token => work(part, token), stop);
            }
        }

        return null;
    }

    private void Commit(IConsumer<Ignore, byte[]> consumer)
    {
        while (_uncommitted.Count > 0)
        {
            var (range, work) = _uncommitted[0];
            try
            {
                consumer.Commit([new TopicPartitionOffset(range.Partition, range.End)]);
            }
            catch (KafkaException error) when (!error.Error.IsFatal && error.Error.Code is not (ErrorCode.GroupAuthorizationFailed or ErrorCode.TopicAuthorizationFailed))
            {
                // The group is being shared out anew: tried again until that is over, or the partition is taken away.
                _uncommittedSince ??= Stopwatch.GetTimestamp();
                return;
            }

            _uncommittedSince = null;
            _uncommitted.RemoveAt(0);
            _finished.Add(range.Partition.Partition.Value);
            work.Take?.Invoke();
        }
    }

    private void Assign(IConsumer<Ignore, byte[]> consumer, List<TopicPartition> partitions)
    {
        if (partitions.Count == 0)
        {
            // Those who have partitions give some away only after this.
            _emptySince ??= Stopwatch.GetTimestamp();
            return;
        }

        _isAssigned = true;
        var committed = consumer.Committed(partitions, TopicSource.Patience).ToDictionary(static one => one.Partition.Value, static one => one.Offset.Value);
        foreach (var range in PartitionRange.Find(consumer, partitions, source.From, source.To, TopicSource.Patience))
        {
            var number = range.Partition.Partition.Value;
            if (range.First >= range.End || _finished.Contains(number) || _uncommitted.Exists(one => one.Range.Partition == range.Partition))
            {
                continue;
            }

            if (committed[number] >= range.End)
            {
                _alreadyDone.Add(number);
            }
            else
            {
                _lost.Remove(number);
                _waiting.Enqueue(range with { First = Math.Max(range.First, committed[number]) });
            }
        }
    }

    private void Lose(List<TopicPartitionOffset> partitions)
    {
        var gone = partitions.Select(static one => one.Partition.Value).ToHashSet();
        foreach (var range in _waiting.ToArray())
        {
            _waiting.Dequeue();
            if (!gone.Contains(range.Partition.Partition.Value))
            {
                _waiting.Enqueue(range);
            }
        }

        foreach (var (range, work) in _uncommitted.Where(one => gone.Contains(one.Range.Partition.Partition.Value)).ToArray())
        {
            _uncommitted.Remove((range, work));
            work.Drop?.Invoke();
            _lost.Add(range.Partition.Partition.Value);
            _uncommittedSince = null;
        }

        if (_lease is { } lease && gone.Contains(lease.Range.Partition.Partition.Value))
        {
            _lease = null;
            lease.GiveUp();
            _lost.Add(lease.Range.Partition.Partition.Value);
        }
    }

    /// <summary>One partition and the thread that reads it.</summary>
    private sealed class Lease
    {
        private readonly CancellationTokenSource _stop;
        private readonly Task<PartitionWork> _work;

        public Lease(in PartitionRange range, Func<CancellationToken, PartitionWork> work, CancellationToken stop)
        {
            Range = range;
            _stop = CancellationTokenSource.CreateLinkedTokenSource(stop);
            _work = Task.Run(() => work(_stop.Token), CancellationToken.None);
        }

        public PartitionRange Range { get; }

        public bool IsDone => _work.IsCompleted;

        public PartitionWork Result()
        {
            using (_stop)
            {
                return _work.GetAwaiter().GetResult();
            }
        }

        /// <summary>Stops the work, and returns when it has.</summary>
        public void GiveUp()
        {
            _stop.Cancel();
            _work.ContinueWith(static work => (work.IsCompletedSuccessfully ? work.Result.Drop : null)?.Invoke(), TaskScheduler.Default).Wait();
            _stop.Dispose();
        }
    }
}

/// <summary>What came of reading a source, or a part of it.</summary>
/// <param name="Failure">Null when all was read; otherwise why not, and nothing of it counts.</param>
/// <param name="Take">Counts what was found.</param>
/// <param name="Drop">Undoes what was prepared for <paramref name="Take"/>, which is not called then.</param>
internal readonly record struct PartitionWork(string? Failure, Action? Take = null, Action? Drop = null);
