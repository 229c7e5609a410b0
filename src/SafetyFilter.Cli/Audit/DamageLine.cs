using System.Globalization;
using System.Text.Json;
using SafetyFilter.Audit;

namespace SafetyFilter.Cli.Audit;

/// <summary>What commands that are not <c>audit verify</c> say of a ledger with damaged places: that decisions may be missing from what they tell.</summary>
internal static class DamageLine
{
    public static string Text(ScanDamage damage) => string.Create(
        CultureInfo.InvariantCulture,
        $"{damage.Places:N0} damaged places: {damage.Bytes:N0} bytes are no records, and decisions may be missing here. 'safetyfilter audit verify' tells which.");

    public static void Write(Utf8JsonWriter json, ScanDamage damage)
    {
        json.WriteNumber("damages", damage.Places);
        json.WriteNumber("damaged_bytes", damage.Bytes);
    }
}
