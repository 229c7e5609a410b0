using System.Runtime.InteropServices;
using SafetyFilter.Ledger;
using SafetyFilter.Sidecar.Reload;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>The sidecar from its settings to its exit code. Public for hosts that bring parts of their own.</summary>
public static class SidecarHost
{
    private const int CouldNotServe = 1;
    private const int WrongSettings = 2;
    private const PosixSignal FileTooLarge = (PosixSignal)25; // SIGXFSZ on Linux

    /// <summary>0 after a clean stop; 1 when it could not serve or could not close its ledger; 2 when its settings are wrong.</summary>
    /// <param name="args">Settings, as <c>--Section:Key=value</c>; they win over environment and files.</param>
    /// <param name="bring">
    /// Registers what the host brings, and the sidecar uses instead of its own: an <see cref="IIdentitySigner"/>. Null: nothing.
    /// </param>
    public static async Task<int> RunAsync(string[] args, Action<IServiceCollection>? bring = null)
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
            // A limit on the size of files (ulimit -f) is met like a full disk, by the error of the write; by default it ends the process.
            using var limit = PosixSignalRegistration.Create(FileTooLarge, static signal => signal.Cancel = true);
            using var socket = UnixSocketClaim.Take(options.Listen.UnixSocket, "Listen:UnixSocket");
            using var operations = UnixSocketClaim.Take(options.Operations.UnixSocket, "Operations:UnixSocket");
            builder.AddSidecar(options, files, settings);
            bring?.Invoke(builder.Services);
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
