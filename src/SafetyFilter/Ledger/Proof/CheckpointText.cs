using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;

namespace SafetyFilter.Ledger.Proof;

/// <summary>
/// What a checkpoint says, as c2sp.org/tlog-checkpoint has it: origin, tree size, root in base64; then our lines
/// <c>epoch N</c>, <c>time NANOSECONDS</c> and, for the last one of an epoch, <c>end DECISIONS</c>.
/// </summary>
internal sealed record CheckpointText(Guid StreamId, ulong TreeSize, TreeHash Root, uint Epoch, ulong TimeUnixNanos, ulong? EndDecisions = null)
{
    public static string OriginOf(Guid streamId) => $"safetyfilter/{streamId:N}";

    /// <summary>The name of the key that signs an epoch's checkpoints.</summary>
    public static string KeyNameOf(Guid streamId, uint epoch) =>
        string.Create(CultureInfo.InvariantCulture, $"safetyfilter/{streamId:N}/{epoch}");

    public override string ToString()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{OriginOf(StreamId)}\n{TreeSize}\n{Root.ToBase64()}\nepoch {Epoch}\ntime {TimeUnixNanos}\n");
        if (EndDecisions is { } decisions)
        {
            text.Append(CultureInfo.InvariantCulture, $"end {decisions}\n");
        }

        return text.ToString();
    }

    public static bool TryParse(string text, [NotNullWhen(true)] out CheckpointText? checkpoint)
    {
        checkpoint = null;
        var lines = text.Split('\n');
        var root = new byte[TreeHash.Length];
        ulong decisions = 0;
        if (lines.Length is not (6 or 7) || lines[^1].Length > 0
            || !Field(lines[0], "safetyfilter/", out var stream) || !Guid.TryParseExact(stream, "N", out var streamId)
            || !Number(lines[1], out var size)
            || !Convert.TryFromBase64String(lines[2], root, out var length) || length != root.Length
            || !Field(lines[3], "epoch ", out var epochText) || !uint.TryParse(epochText, NumberStyles.None, CultureInfo.InvariantCulture, out var epoch)
            || !Field(lines[4], "time ", out var timeText) || !Number(timeText, out var time)
            || (lines.Length == 7 && !(Field(lines[5], "end ", out var endText) && Number(endText, out decisions))))
        {
            return false;
        }

        checkpoint = new CheckpointText(streamId, size, TreeHash.Read(root), epoch, time, lines.Length == 7 ? decisions : null);
        return string.Equals(checkpoint.ToString(), text, StringComparison.Ordinal);
    }

    private static bool Number(string text, out ulong value) => ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);

    private static bool Field(string line, string start, out string rest)
    {
        var found = line.StartsWith(start, StringComparison.Ordinal);
        rest = found ? line[start.Length..] : "";
        return found;
    }
}
