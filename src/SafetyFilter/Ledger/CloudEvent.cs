using System.Globalization;
using System.Text;
using Confluent.Kafka;

namespace SafetyFilter.Ledger;

/// <summary>Records as CloudEvents 1.0 in the binary mode of the Kafka protocol binding: attributes are headers, the value is the record.</summary>
internal sealed class CloudEvent(Guid streamId, string source)
{
    public const string TypeHeader = "ce_type";

    private static readonly byte[] SpecVersion = "1.0"u8.ToArray();
    private static readonly byte[] ContentType = "application/protobuf"u8.ToArray();
    private static readonly byte[][] Types =
    [
        [], "safetyfilter.decision.v1"u8.ToArray(), "safetyfilter.epoch-start.v1"u8.ToArray(), "safetyfilter.epoch-end.v1"u8.ToArray(),
        "safetyfilter.checkpoint.v1"u8.ToArray(), "safetyfilter.gap.v1"u8.ToArray(), "safetyfilter.loss.v1"u8.ToArray(),
        "safetyfilter.withdrawal.v1"u8.ToArray(), "safetyfilter.activation.v1"u8.ToArray(),
        "safetyfilter.breaker.v1"u8.ToArray(), "safetyfilter.change.v1"u8.ToArray(), "safetyfilter.shed.v1"u8.ToArray(), "safetyfilter.security.v1"u8.ToArray(),
    ];

    private static ReadOnlySpan<byte> UnknownStart => "safetyfilter.record-"u8;

    private static ReadOnlySpan<byte> UnknownEnd => ".v1"u8;

    private readonly string _stream = SpoolFolder.StreamName(streamId);
    private readonly byte[] _source = Encoding.UTF8.GetBytes(source);

    /// <summary>The key of every message of the stream.</summary>
    public byte[] Key { get; } = Encoding.ASCII.GetBytes(SpoolFolder.StreamName(streamId));

    public static RecordType? TypeOf(ReadOnlySpan<byte> header)
    {
        for (var type = RecordType.Decision; (int)type < Types.Length; type++)
        {
            if (header.SequenceEqual(Types[(int)type]))
            {
                return type;
            }
        }

        // A type that a later version added.
        return header.Length > UnknownStart.Length + UnknownEnd.Length && header.StartsWith(UnknownStart) && header.EndsWith(UnknownEnd)
            && byte.TryParse(header[UnknownStart.Length..^UnknownEnd.Length], NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            && number >= Types.Length
            ? (RecordType)number
            : null;
    }

    public Headers HeadersFor(RecordType type, uint epoch, ulong sequence, ulong timeUnixNanos) => new()
    {
        { "ce_specversion", SpecVersion },
        { "ce_id", Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{_stream}/{epoch}/{sequence}")) },
        { "ce_source", _source },
        { TypeHeader, NameOf(type) },
        { "ce_time", Encoding.ASCII.GetBytes(TimeOf(timeUnixNanos).ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'", CultureInfo.InvariantCulture)) },
        { "content-type", ContentType },
    };

    private static byte[] NameOf(RecordType type) => (int)type < Types.Length
        ? Types[(int)type]
        : Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"safetyfilter.record-{(int)type}.v1"));

    public static DateTime TimeOf(ulong unixNanos) => DateTime.UnixEpoch.AddTicks((long)(unixNanos / TimeSpan.NanosecondsPerTick));
}
