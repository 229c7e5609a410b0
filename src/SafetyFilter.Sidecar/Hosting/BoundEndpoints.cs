using System.Net;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>Where the sidecar listens once it does; ports that were 0 are known then.</summary>
internal sealed class BoundEndpoints
{
    public Microsoft.AspNetCore.Server.Kestrel.Core.ListenOptions? Tcp { get; set; }

    public Microsoft.AspNetCore.Server.Kestrel.Core.ListenOptions? Metrics { get; set; }

    public Microsoft.AspNetCore.Server.Kestrel.Core.ListenOptions? Operations { get; set; }

    public ReadyNote Describe(string unixSocket) => new(
        unixSocket, Url(Tcp), Metrics is null ? "" : Url(Metrics) + "/metrics", Environment.ProcessId, Url(Operations));

    private static string Url(Microsoft.AspNetCore.Server.Kestrel.Core.ListenOptions? bound) =>
        bound?.IPEndPoint is { } endPoint ? $"http://{endPoint}" : "";
}

/// <summary>The content of the ready file.</summary>
internal sealed record ReadyNote(string UnixSocket, string Tcp, string Metrics, int ProcessId, string Operations)
{
    /// <summary>Written aside and renamed, so that whoever sees the file sees all of it.</summary>
    public void WriteTo(string path)
    {
        var aside = path + ".tmp";
        File.WriteAllText(aside, JsonSerializer.Serialize(this, ReadyNoteJson.Default.ReadyNote));
        File.Move(aside, path, overwrite: true);
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ReadyNote))]
internal sealed partial class ReadyNoteJson : JsonSerializerContext;
