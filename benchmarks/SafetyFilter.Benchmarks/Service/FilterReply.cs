using SafetyFilter.Decisions;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>What the load reads of an answer: enough to tell an answer from a mere message, and cheap. Field numbers are those of filter.proto.</summary>
/// <param name="Size">Bytes of the message.</param>
/// <param name="Verdicts">How many candidates it decides.</param>
/// <param name="IsEvaluated">Whether every classifier gave a score for each of them.</param>
/// <param name="EngineMicros">0 when the server does not say.</param>
internal sealed record FilterReply(int Size, int Verdicts, bool IsEvaluated, uint EngineMicros)
{
    private const int StreamResponse = 1;
    private const int Actions = 2;
    private const int Degradations = 7;
    private const int Engine = 12;

    /// <summary>Reads a <c>FilterResponse</c>, or the one within a <c>FilterStreamResponse</c>. One that cannot be read has no verdicts.</summary>
    public static FilterReply Read(ReadOnlySpan<byte> message, bool streamed)
    {
        var reader = new ProtoReader(message, 0, message.Length);
        if (streamed)
        {
            reader = reader.TryReadTag(out var outcome, out _) && outcome == StreamResponse && reader.TryReadDelimited(out var response)
                ? reader.Nested(response)
                : new ProtoReader(message, 0, 0);
        }

        var (verdicts, evaluated, engine) = (0, true, 0u);
        while (reader.TryReadTag(out var field, out var type))
        {
            if (field == Actions && type == ProtoReader.Delimited && reader.TryReadDelimited(out var actions))
            {
                // Packed, and no action takes two bytes.
                verdicts += actions.Length;
            }
            else if (field == Engine && type == ProtoReader.Varint && reader.TryReadVarint(out var micros))
            {
                engine = (uint)micros;
            }
            else
            {
                evaluated &= field != Degradations;
                if (field is not (Actions or Engine) && !reader.TrySkip(field, type))
                {
                    return new FilterReply(message.Length, 0, false, 0);
                }
            }
        }

        return new FilterReply(message.Length, verdicts, evaluated, engine);
    }
}
