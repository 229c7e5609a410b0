using System.Text;

namespace SafetyFilter.Decisions;

/// <summary>A piece of a <see cref="CandidateBatch"/>'s buffer. Text stays UTF-8 until somebody reads it.</summary>
internal readonly record struct ByteSlice(int Start, int Length)
{
    public bool IsEmpty => Length == 0;

    public ReadOnlySpan<byte> In(ReadOnlySpan<byte> buffer) => buffer.Slice(Start, Length);

    /// <summary>The slice as UTF-8 text.</summary>
    public string ToString(ReadOnlySpan<byte> buffer) => Encoding.UTF8.GetString(In(buffer));
}
