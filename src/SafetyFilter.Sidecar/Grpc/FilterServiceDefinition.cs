using Grpc.Core;
using ServiceDescriptor = Google.Protobuf.Reflection.ServiceDescriptor;

namespace SafetyFilter.Sidecar.Grpc;

/// <summary>
/// The service of filter.proto bound to our own marshallers instead of the generated messages: requests are read as
/// columns straight from the wire, answers are written from columns. The descriptor stays the generated one.
/// </summary>
internal static class FilterServiceDefinition
{
    /// <summary>For server reflection, which looks for it here by name.</summary>
    public static ServiceDescriptor Descriptor => V1.SafetyFilter.Descriptor;

    // grpc-dotnet binds without an instance and finds the handlers by the methods' names.
    public static void BindService(ServiceBinderBase binder, Base? service)
    {
        binder.AddMethod(
            Method(MethodType.Unary, nameof(Base.Filter)),
            service is null ? null : new UnaryServerMethod<FilterCall, FilterCall>(service.Filter));
        binder.AddMethod(
            Method(MethodType.DuplexStreaming, nameof(Base.FilterStream)),
            service is null ? null : new DuplexStreamingServerMethod<FilterCall, FilterCall>(service.FilterStream));
    }

    private static Method<FilterCall, FilterCall> Method(MethodType type, string name)
    {
        var marshaller = Marshallers.Create<FilterCall>(static (call, context) => call.WriteTo(context), FilterCall.ReceiveFrom);
        return new Method<FilterCall, FilterCall>(type, Descriptor.FullName, name, marshaller, marshaller);
    }

    [BindServiceMethod(typeof(FilterServiceDefinition), nameof(BindService))]
    internal abstract class Base
    {
        public abstract Task<FilterCall> Filter(FilterCall call, ServerCallContext context);

        public abstract Task FilterStream(
            IAsyncStreamReader<FilterCall> calls, IServerStreamWriter<FilterCall> replies, ServerCallContext context);
    }
}
