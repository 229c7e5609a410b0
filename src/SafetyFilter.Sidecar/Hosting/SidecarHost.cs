using SafetyFilter.Ledger;
using SafetyFilter.Sidecar.Reload;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>The sidecar from its settings to its exit code.</summary>
internal static class SidecarHost
{
    private const int CouldNotServe = 1;
    private const int WrongSettings = 2;

    /// <summary>0 after a clean stop; 1 when it could not serve or could not close its ledger; 2 when its settings are wrong.</summary>
    public static async Task<int> RunAsync(string[] args)
    {
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions
        {
            Args = args,
            ContentRootPath = AppContext.BaseDirectory,
        });
        var files = SettingsFiles.Insert(builder.Configuration, args, AppContext.BaseDirectory, builder.Environment.EnvironmentName);
        var (settings, errors) = files.Merge(files.Read());
        if (settings is null)
        {
            return Complain(errors, WrongSettings);
        }

        files.Publish(settings);
        (var options, errors) = SidecarOptions.Read(SettingsFiles.Bindable(settings), builder.Environment.IsProduction());
        if (options is null)
        {
            return Complain(errors, WrongSettings);
        }

        try
        {
            using var socket = UnixSocketClaim.Take(options.Listen.UnixSocket);
            builder.AddSidecar(options, files, settings);
            await using var app = builder.Build();

            // Opened before anything listens: without a ledger there is nothing to serve.
            app.Services.GetRequiredService<DecisionLedger>();
            app.MapSidecar(options);
            var lifecycle = app.Services.GetRequiredService<ServingLifecycle>();
            await app.RunAsync();
            return lifecycle.ExitCode;
        }
        catch (Exception error) when (error is IOException or LedgerException or System.Net.Sockets.SocketException)
        {
            return Complain([error.Message], CouldNotServe);
        }
    }

    private static int Complain(IReadOnlyList<string> errors, int exitCode)
    {
        foreach (var error in errors)
        {
            Console.Error.WriteLine(error);
        }

        return exitCode;
    }
}
