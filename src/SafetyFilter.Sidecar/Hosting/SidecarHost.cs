using SafetyFilter.Ledger;

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
        if (!TryReadOptions(builder, out var options, out var errors))
        {
            return Complain(errors, WrongSettings);
        }

        try
        {
            using var socket = UnixSocketClaim.Take(options.Listen.UnixSocket);
            using var operations = UnixSocketClaim.Take(options.Operations.UnixSocket);
            builder.AddSidecar(options);
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

    private static bool TryReadOptions(WebApplicationBuilder builder, out SidecarOptions options, out IReadOnlyList<string> errors)
    {
        options = new SidecarOptions();
        try
        {
            builder.Configuration.Bind(options);
            errors = options.Validate(builder.Environment.IsProduction());
        }
        catch (InvalidOperationException error)
        {
            // The binder's message names the key; its cause names the value.
            errors = [error.InnerException is { } cause ? $"{error.Message} {cause.Message}" : error.Message];
        }

        return errors.Count == 0;
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
