namespace SafetyFilter.Sidecar.Hosting;

/// <summary>What a listener is for.</summary>
[Flags]
internal enum ListenerRole
{
    None = 0,
    Filter = 1,
    Metrics = 2,
    Operations = 4,
}

/// <summary>
/// Gives listeners their roles and keeps endpoints to them. Routing knows paths and not where a call came in: without this, whoever may
/// call for pages could read the metrics, and whoever may see the status could have pages decided.
/// </summary>
internal static class ListenerRoles
{
    /// <summary>Every connection of the listener carries its role, as a feature.</summary>
    public static void Give(this Microsoft.AspNetCore.Server.Kestrel.Core.ListenOptions listen, ListenerRole role)
    {
        var given = new Given(role);
        listen.Use(next => connection =>
        {
            connection.Features.Set(given);
            return next(connection);
        });
    }

    /// <summary>The endpoints answer on listeners of these roles; elsewhere it is as if they were not there.</summary>
    public static void KeepTo(this IEndpointConventionBuilder endpoints, ListenerRole roles) => endpoints.Add(endpoint =>
    {
        var inner = endpoint.RequestDelegate!;
        endpoint.RequestDelegate = http => ((http.Features.Get<Given>()?.Role ?? ListenerRole.None) & roles) != ListenerRole.None ? inner(http) : Refuse(http);
    });

    private static Task Refuse(HttpContext http)
    {
        var response = http.Response;
        if (http.Request.ContentType?.StartsWith("application/grpc", StringComparison.OrdinalIgnoreCase) is true)
        {
            // UNIMPLEMENTED, as an answer without messages: the trailers-only form.
            response.ContentType = "application/grpc";
            response.Headers["grpc-status"] = "12";
            response.Headers["grpc-message"] = "This listener does not serve that. The sidecar has others for it.";
        }
        else
        {
            response.StatusCode = StatusCodes.Status404NotFound;
        }

        return Task.CompletedTask;
    }

    private sealed record Given(ListenerRole Role);
}
