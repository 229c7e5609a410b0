using SafetyFilter.Breaker;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;
using SafetyFilter.Observability;
using SafetyFilter.Sidecar.Reload;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>
/// From listening to serving to stopped. Listen first and say NOT_SERVING while models load; on SIGTERM say NOT_SERVING,
/// let requests in flight finish, then close the ledger.
/// </summary>
internal sealed partial class ServingLifecycle(
    SidecarOptions options,
    ServingLoader loader,
    ServingStore serving,
    ReloadService reload,
    BreakerBoard breakers,
    DecisionLedger ledger,
    BoundEndpoints endpoints,
    RecordPrivacy privacy,
    ServingArchive archive,
    ActivationLog activations,
    Grpc.OpenStreams streams,
    Admission.ShedReport shed,
    Operations.DenialReport denials,
    IHostApplicationLifetime lifetime,
    TimeProvider time,
    ILogger<ServingLifecycle> logger) : IHostedLifecycleService, IDisposable
{
    private static readonly TimeSpan LastFrames = TimeSpan.FromMilliseconds(100);

    private readonly CancellationTokenSource _drained = new();
    private Task _loading = Task.CompletedTask;
    private Task _archiving = Task.CompletedTask;
    private volatile bool _serving;
    private long _servingSinceTicks;

    public int ExitCode { get; private set; }

    public bool IsServing => _serving;

    /// <summary>When it began to serve; null before.</summary>
    public DateTimeOffset? ServingSince => Volatile.Read(ref _servingSinceTicks) is > 0 and var ticks ? new DateTimeOffset(ticks, TimeSpan.Zero) : null;

    /// <summary>Cancelled when the listeners are about to close, which is <c>Drain:Delay</c> after SIGTERM: streams end then.</summary>
    public CancellationToken Drained => _drained.Token;

    // A file that a killed predecessor left would say "ready" while models load.
    public Task StartingAsync(CancellationToken cancellationToken)
    {
        RemoveReadyFile();
        return Task.CompletedTask;
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    // The listeners are up now; loading on another thread lets them answer health checks.
    public Task StartedAsync(CancellationToken cancellationToken)
    {
        _loading = Task.Run(Load, CancellationToken.None);
        return Task.CompletedTask;
    }

    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        RemoveReadyFile();
        var served = _serving;
        _serving = false;
        if (served && options.Drain.Delay > TimeSpan.Zero)
        {
            Draining(logger, options.Drain.Delay);
            await Task.Delay(options.Drain.Delay, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await _drained.CancelAsync();

        // Streams have been told to end; what does not listen is cut off with its connection.
        if (streams.WhenNone() is { IsCompleted: false } none)
        {
            await Task.WhenAny(none, Task.Delay(options.Drain.Timeout, cancellationToken));

            // Kestrel calls a stream complete before its last frames are with the socket, and nothing tells when they are.
            await Task.Delay(LastFrames, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await _loading.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

        // What was still loading has said that it serves.
        _serving = false;
        RemoveReadyFile();
        await _archiving.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    // Hosted services stop in the reverse order of their start, so the listeners are closed by now.
    public Task StopAsync(CancellationToken cancellationToken)
    {
        serving.Swap(null);
        shed.Tell();
        denials.TellAll();
        var left = ledger.Close(options.Drain.Flush);
        LedgerClosed(logger, ledger.Spool.LastSequence, left);
        if (ledger.Spool.DurableSequence < ledger.Spool.LastSequence)
        {
            LedgerNotDurable(logger, ledger.Spool.LastSequence - ledger.Spool.DurableSequence, ledger.Spool.Trouble ?? "the disk is slow");
            ExitCode = 1;
        }

        return Task.CompletedTask;
    }

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    private void Load()
    {
        try
        {
            var (loaded, errors) = loader.Load();
            if (loaded?.Snapshot is not { } snapshot)
            {
                Fail(errors);
                return;
            }

            // Before the first decision: a stream says which policy decided before it says what it decided.
            snapshot.Prepare(privacy);
            archive.KeepPolicies(snapshot);
            foreach (var policy in loaded.Policies.Policies)
            {
                var announced = activations.Announce(snapshot, policy.Revision);
                if (announced != AppendResult.Appended)
                {
                    throw new LedgerException($"The ledger does not take the record that policy '{policy.Name}' begins to serve ({announced}). Free space for the spool.");
                }
            }

            breakers.Commit(snapshot.Breakers!);
            serving.Swap(snapshot);
            reload.Begin(loaded);
            var note = endpoints.Describe(options.Listen.UnixSocket);
            if (options.Listen.ReadyFile.Length > 0)
            {
                note.WriteTo(options.Listen.ReadyFile);
            }

            Volatile.Write(ref _servingSinceTicks, time.GetUtcNow().UtcTicks);
            _serving = true;
            _archiving = Task.Run(() => archive.KeepBundles(snapshot), CancellationToken.None);
            Serving(logger, snapshot.Surfaces, note.UnixSocket, note.Tcp, note.Metrics, ledger.Spool.StreamId, ledger.Spool.Epoch);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or LedgerException)
        {
            Fail([error.Message]);
        }
        catch (Exception error)
        {
            Fail([error.ToString()]);
        }
    }

    public void Dispose() => _drained.Dispose();

    private void RemoveReadyFile()
    {
        if (options.Listen.ReadyFile.Length > 0)
        {
            File.Delete(options.Listen.ReadyFile);
        }
    }

    private void Fail(IReadOnlyList<string> errors)
    {
        foreach (var error in errors)
        {
            LoadFailed(logger, error);
        }

        ExitCode = 1;
        lifetime.StopApplication();
    }

    [LoggerMessage(EventIds.Serving, LogLevel.Information, "Serving {Surfaces} on '{UnixSocket}' and '{Tcp}', metrics on '{Metrics}', ledger stream {Stream} epoch {Epoch}")]
    private static partial void Serving(ILogger logger, string surfaces, string unixSocket, string tcp, string metrics, Guid stream, uint epoch);

    [LoggerMessage(EventIds.LoadFailed, LogLevel.Critical, "Cannot serve: {Error}")]
    private static partial void LoadFailed(ILogger logger, string error);

    [LoggerMessage(EventIds.Draining, LogLevel.Information, "Draining: health says NOT_SERVING, the listeners close after {Delay}")]
    private static partial void Draining(ILogger logger, TimeSpan delay);

    [LoggerMessage(EventIds.LedgerClosed, LogLevel.Information, "The ledger is closed at sequence {Sequence}; {Left} records are left for the next run to publish")]
    private static partial void LedgerClosed(ILogger logger, ulong sequence, ulong left);

    [LoggerMessage(EventIds.LedgerNotDurable, LogLevel.Error, "{Records} records at the end of the ledger are not confirmed on the disk: {Reason}")]
    private static partial void LedgerNotDurable(ILogger logger, ulong records, string reason);
}
