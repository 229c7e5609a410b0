using System.Text;

namespace SafetyFilter.Decisions;

/// <summary>A piece of UTF-8 inside a <see cref="CandidateBatch"/>'s buffer. Text stays bytes until somebody reads it.</summary>
internal readonly record struct Utf8Slice(int Start, int Length)
{
    public bool IsEmpty => Length == 0;

    public ReadOnlySpan<byte> In(ReadOnlySpan<byte> buffer) => buffer.Slice(Start, Length);

    public string ToString(ReadOnlySpan<byte> buffer) => Encoding.UTF8.GetString(In(buffer));
}
