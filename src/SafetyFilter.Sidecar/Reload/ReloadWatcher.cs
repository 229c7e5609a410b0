namespace SafetyFilter.Sidecar.Reload;

/// <summary>Looks at the files every <see cref="ReloadOptions.PollInterval"/>.</summary>
/// <remarks>
/// Not a FileSystemWatcher: inotify follows neither a link that is swapped, which is how Kubernetes updates a ConfigMap, nor changes below
/// overlay and network mounts, and it tells of every step of an editor's save.
/// </remarks>
internal sealed class ReloadWatcher(ReloadService reload, ReloadOptions options, TimeProvider time) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (options.PollInterval == TimeSpan.Zero)
        {
            return;
        }

        using var timer = new PeriodicTimer(options.PollInterval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                await reload.LookAsync(stoppingToken);
            }
        }
        catch (OperationCanceledException)
        {
            // The host stops.
        }
    }
}
