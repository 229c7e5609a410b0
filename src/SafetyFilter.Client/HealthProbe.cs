using Grpc.Core;

namespace SafetyFilter.Client;

/// <summary>Asks grpc.health.v1 for the server as a whole. Two bytes each way: not worth a package of its own to every host.</summary>
internal static class HealthProbe
{
    private static readonly Marshaller<byte[]> Bytes = Marshallers.Create(static (byte[] bytes) => bytes, static bytes => bytes);
    private static readonly Method<byte[], byte[]> Check = new(MethodType.Unary, "grpc.health.v1.Health", "Check", Bytes, Bytes);

    public static async Task<bool> IsServingAsync(CallInvoker invoker, TimeSpan patience, CancellationToken cancellationToken)
    {
        try
        {
            using var call = invoker.AsyncUnaryCall(
                Check, host: null, new CallOptions(deadline: DateTime.UtcNow + patience, cancellationToken: cancellationToken), request: []);
            // Field 1, a varint: 1 is SERVING.
            return (await call.ResponseAsync.ConfigureAwait(false)).AsSpan().SequenceEqual<byte>([0x08, 0x01]);
        }
        catch (RpcException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
    }
}
