using System.Globalization;
using System.Text.Json;

namespace SafetyFilter.Cli.Audit;

/// <summary>What commands that are not <c>audit verify</c> say of a ledger with damaged places: that decisions may be missing from what they tell.</summary>
internal static class DamageLine
{
    public static string Text(long places, long bytes) => string.Create(
        CultureInfo.InvariantCulture,
        $"{places:N0} damaged places: {bytes:N0} bytes are no records, and decisions may be missing here. 'safetyfilter audit verify' tells which.");

    public static void Write(Utf8JsonWriter json, long places, long bytes)
    {
        json.WriteNumber("damages", places);
        json.WriteNumber("damaged_bytes", bytes);
    }
}
