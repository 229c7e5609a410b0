using System.Globalization;
using System.Text;

namespace SafetyFilter.Scoring.Text;

/// <summary>
/// What a code point becomes before texts are compared: its compatibility decomposition (NFKD) without the marks and
/// invisible characters that only disguise a word, Latin letters with strokes and hooks reduced to their base, and a
/// second table of letters of other scripts that can pass for a Latin one.
/// </summary>
/// <remarks>
/// The tables are a file of ours (unicode-fold.txt, written by SafetyFilter.Training) and not the runtime's
/// normalisation: span normalisation allocates, does nothing at all in globalization-invariant containers, and follows
/// the host's ICU version, so that one text could score differently on two hosts.
/// </remarks>
internal static class UnicodeFold
{
    private const int Pages = 0x110000 >> 8;

    // Page of a code point -> 256 entries -> position in Values of a length-prefixed replacement; 0 means "itself".
    private static readonly ushort[]?[] Replacements = new ushort[]?[Pages];
    private static readonly char[] Values;

    // The Latin letter a code point can pass for, 0 for none. The high bit marks a letter whose other case does, not itself.
    private static readonly byte[]?[] Lookalikes = new byte[]?[Pages];

    static UnicodeFold()
    {
        var values = new StringBuilder("\0");
        var known = new Dictionary<string, ushort>(StringComparer.Ordinal);
        using var stream = typeof(UnicodeFold).Assembly.GetManifestResourceStream("unicode-fold.txt")
            ?? throw new InvalidOperationException("The resource unicode-fold.txt is not in the assembly. Build SafetyFilter from its own project file.");
        using var reader = new StreamReader(stream, Encoding.ASCII);
        while (reader.ReadLine() is { } line)
        {
            if (line.Length > 0 && line[0] is not '#')
            {
                Read(line, values, known);
            }
        }

        Values = values.ToString().ToCharArray();
        CloseLookalikesUnderCase();
    }

    /// <summary>Whether the code point is replaced, and by what: nothing, one or several UTF-16 code units.</summary>
    public static bool TryReplace(int codePoint, out ReadOnlySpan<char> replacement)
    {
        int at = Replacements[codePoint >> 8] is { } page ? page[codePoint & 0xFF] : 0;
        replacement = at == 0 ? default : Values.AsSpan(at + 1, Values[at]);
        return at != 0;
    }

    /// <summary>The lower-case ASCII letter that this letter of another script passes for, or 0.</summary>
    public static char Lookalike(char letter) => (char)(Lookalikes[letter >> 8] is { } page ? page[letter & 0xFF] & 0x7F : 0);

    /// <summary>Whether this very form passes for a Latin letter, and not only its upper case (as in the Cyrillic Н and н).</summary>
    public static bool IsStrictLookalike(char letter) => Lookalikes[letter >> 8] is { } page && page[letter & 0xFF] is > 0 and < 0x80;

    // "1D400-1D419 0041+" maps a run onto a run, "00DF 0073 0073" one code point, "200B" drops one, "@0430 a" is a lookalike.
    private static void Read(string line, StringBuilder values, Dictionary<string, ushort> known)
    {
        var parts = line.Split(' ');
        if (line[0] == '@')
        {
            int letter = Hex(parts[0].AsSpan(1));
            (Lookalikes[letter >> 8] ??= new byte[256])[letter & 0xFF] = (byte)parts[1][0];
            return;
        }

        int dash = parts[0].IndexOf('-', StringComparison.Ordinal);
        int first = Hex(dash < 0 ? parts[0] : parts[0].AsSpan(0, dash));
        int last = dash < 0 ? first : Hex(parts[0].AsSpan(dash + 1));
        for (int codePoint = first; codePoint <= last; codePoint++)
        {
            var text = new StringBuilder();
            foreach (string part in parts.AsSpan(1))
            {
                text.Append(part[^1] == '+' ? char.ConvertFromUtf32(Hex(part.AsSpan(0, part.Length - 1)) + codePoint - first) : char.ConvertFromUtf32(Hex(part)));
            }

            string value = text.ToString();
            if (!known.TryGetValue(value, out ushort at))
            {
                at = checked((ushort)values.Length);
                values.Append((char)value.Length).Append(value);
                known.Add(value, at);
            }

            (Replacements[codePoint >> 8] ??= new ushort[256])[codePoint & 0xFF] = at;
        }
    }

    // A table closed under case keeps normalisation idempotent: what folds (or does not) in one case does so in the other.
    private static void CloseLookalikesUnderCase()
    {
        for (int letter = 0x80; letter <= char.MaxValue; letter++)
        {
            int lower = char.ToLowerInvariant((char)letter);
            if (lower == letter)
            {
                continue;
            }

            byte ofUpper = Lookalikes[letter >> 8] is { } page ? page[letter & 0xFF] : (byte)0;
            byte ofLower = Lookalikes[lower >> 8] is { } lowerPage ? lowerPage[lower & 0xFF] : (byte)0;
            if (ofUpper == 0 && ofLower is > 0 and < 0x80)
            {
                (Lookalikes[letter >> 8] ??= new byte[256])[letter & 0xFF] = ofLower;
            }
            else if (ofLower == 0 && ofUpper is > 0 and < 0x80)
            {
                (Lookalikes[lower >> 8] ??= new byte[256])[lower & 0xFF] = (byte)(ofUpper | 0x80);
            }
        }
    }

    private static int Hex(ReadOnlySpan<char> digits) => int.Parse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
}
