using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging;
using SafetyFilter.Observability;

namespace SafetyFilter.Ledger;

/// <summary>The spool and, when Kafka is configured, the publisher that empties it.</summary>
internal sealed class DecisionLedger : IDisposable
{
    private readonly ulong _sequenceAtOpen;
    private KafkaPublisher? _publisher;

    private DecisionLedger(Spool spool, KafkaPublisher? publisher)
    {
        Spool = spool;
        _publisher = publisher;
        _sequenceAtOpen = spool.Recovery.LastSequence;
    }

    public Spool Spool { get; }

    /// <summary>Whether Kafka is on.</summary>
    public bool Publishes => _publisher is not null;

    /// <summary>Why nothing is published just now; null when all is well, or Kafka is off.</summary>
    public string? PublisherTrouble => _publisher?.Trouble;

    /// <summary>Opens the spool, starts publishing if Kafka is on, and shows both on <paramref name="meter"/>.</summary>
    /// <param name="identity">Who certifies this run's key; null: the key of the file that the options name.</param>
    /// <exception cref="LedgerException">
    /// The Kafka settings are wrong, the identity does not answer as it should, or the spool cannot be used; the message says why and what to do.
    /// </exception>
    public static DecisionLedger Open(
        LedgerOptions options, string build, TimeProvider time, Meter meter, ILoggerFactory loggers, IIdentitySigner? identity = null)
    {
        if (options.Kafka.Enabled)
        {
            // Before anything is written: a typing mistake should not become an outage of publishing that nobody looks at.
            PublisherSession.Check(options.Kafka);
        }

        var spool = Spool.Open(
            options.Spool, build, time, loggers.CreateLogger<Spool>(), options.Kafka.Enabled, options.Signing,
            identity is null ? null : HostIdentity.Of(identity, options.Signing.IdentityPatience));
        KafkaPublisher? publisher = null;
        if (options.Kafka.Enabled)
        {
            publisher = new KafkaPublisher(spool, options.Kafka, time, loggers.CreateLogger<KafkaPublisher>());
            publisher.Start();
        }

        var ledger = new DecisionLedger(spool, publisher);
        LedgerMetrics.Observe(meter, ledger.Read);
        return ledger;
    }

    /// <summary>Publishes with other settings from here on. Kafka must be on, before and after: being off is decided when the spool is opened.</summary>
    /// <exception cref="InvalidOperationException">Kafka is off.</exception>
    public void UseKafka(KafkaOptions options)
    {
        if (_publisher is not { } publisher || !options.Enabled)
        {
            throw new InvalidOperationException("Kafka can be switched on and off by a restart only.");
        }

        publisher.Use(options);
    }

    /// <summary>
    /// Ends the epoch, then gives Kafka <paramref name="patience"/> to take what it does not have. What it has not taken
    /// by then stays in the spool, and the next run publishes it.
    /// </summary>
    /// <returns>Records left for the next run to publish.</returns>
    public ulong Close(TimeSpan patience)
    {
        Spool.Close();
        _publisher?.Flush(patience);
        var left = _publisher?.Lag ?? 0;
        StopPublishing();
        return left;
    }

    public void Dispose()
    {
        StopPublishing();
        Spool.Dispose();
    }

    private void StopPublishing()
    {
        _publisher?.Dispose();
        _publisher = null;
    }

    /// <summary>The ledger's numbers as they are now.</summary>
    public LedgerReading Read() => new(
        (long)(Spool.LastSequence - _sequenceAtOpen),
        Spool.AppendedBytes,
        Spool.RefusedAppends,
        Spool.SyncFailures,
        (long)(Spool.LastSequence - Math.Min(Spool.DurableSequence, Spool.LastSequence)),
        (long)(_publisher?.Lag ?? 0),
        _publisher?.OldestUnpublishedAge ?? TimeSpan.Zero,
        Spool.Trouble is not null,
        _publisher is { Trouble: not null, Lag: > 0 },
        _publisher?.Producers ?? 0,
        _publisher?.CursorFailures ?? 0,
        (long)Spool.LostTotal,
        Spool.BacklogBytes,
        Spool.DiskWaits,
        Spool.FreeBytes,
        Spool.Recovery.Damages.Count + (_publisher?.Damages ?? 0),
        Spool.Notary.Checkpoints,
        Spool.Notary.Failures,
        (long)(Spool.LastSequence - Math.Min(Spool.Notary.SignedSize, Spool.LastSequence)),
        Spool.Notary.Trouble is not null,
        Spool.Gaps.Records);
}
