using System.Globalization;
using System.Text;
using SafetyFilter.Training.Data;

namespace SafetyFilter.Training.Unicode;

/// <summary>
/// Writes unicode-fold.txt, which <see cref="Scoring.Text.UnicodeFold"/> reads: the runtime's compatibility decomposition
/// with our omissions, and the letters that pass for Latin ones according to the Unicode security tables.
/// </summary>
internal static class UnicodeFoldWriter
{
    // Scripts whose letters are used to disguise Latin words; the lookalikes of rarer ones render as boxes on most devices.
    private static readonly string[] DisguisingScripts = ["CYRILLIC", "GREEK", "ARMENIAN", "COPTIC", "CHEROKEE", "LISU", "GEORGIAN"];

    // Where the tables disagree, what was made for disguise on purpose is the better witness. char_codes is too loose for
    // scripts that have readers of their own: there it would make every Cyrillic word of в, н and т a suspect. The Greek sigmas are left out: decomposition gives the lunate one the shape of the other.
    private static readonly string[] Sources = ["intentional", "uts39", "extras", "char_codes"];

    public static string Write(string dataFolder)
    {
        var reduced = new Dictionary<int, char>();
        var lookalikes = new SortedDictionary<int, char>();
        foreach (var (codePoint, (name, source, letter)) in SingleLetters(dataFolder))
        {
            string script = name.Split(' ')[0];
            if (script == "LATIN")
            {
                reduced[codePoint] = letter;
            }
            else if (source != "char_codes" && codePoint is not (0x3C3 or 0x3F2 or 0x3F9) && Array.IndexOf(DisguisingScripts, script) >= 0)
            {
                lookalikes[codePoint] = letter;
            }
        }

        // What is reduced in one case is reduced in the other: normalisation must be idempotent.
        foreach (var (codePoint, letter) in reduced.ToArray())
        {
            reduced.TryAdd(char.ToLowerInvariant((char)codePoint), letter);
            if (char.ToUpperInvariant((char)codePoint) is > '\x7F' and var upper)
            {
                reduced.TryAdd(upper, letter);
            }
        }

        var text = new StringBuilder("# Facts of the Unicode Character Database and the Unicode security tables, in a form of our own.\n");
        text.Append("# Written by SafetyFilter.Training (unicode-fold); every line is explained in UnicodeFold.cs.\n");
        AppendRuns(text, Replacements(reduced));
        foreach (var (codePoint, letter) in lookalikes)
        {
            text.Append(CultureInfo.InvariantCulture, $"@{codePoint:X4} {letter}\n");
        }

        return text.ToString();
    }

    private static SortedDictionary<int, string> Replacements(Dictionary<int, char> reduced)
    {
        var result = new SortedDictionary<int, string>();
        for (int codePoint = 0x80; codePoint <= 0x10FFFF; codePoint++)
        {
            if (codePoint is (>= 0xD800 and <= 0xDFFF) or (>= 0xAC00 and <= 0xD7A3))
            {
                continue;
            }

            string self = char.ConvertFromUtf32(codePoint);
            string value = Reduce(codePoint, reduced);
            if (value != self)
            {
                result.Add(codePoint, value);
            }
        }

        return result;
    }

    private static string Reduce(int codePoint, Dictionary<int, char> reduced)
    {
        var text = new StringBuilder();
        string decomposed = (codePoint & 0xFFFE) == 0xFFFE ? "" : char.ConvertFromUtf32(codePoint).Normalize(NormalizationForm.FormKD);
        foreach (var rune in decomposed.EnumerateRunes())
        {
            int c = rune.Value;
            var category = Rune.GetUnicodeCategory(rune);
            if (IsInvisible(c, category) || IsDisguisingMark(c, category))
            {
                continue;
            }

            _ = c switch
            {
                _ when category is UnicodeCategory.SpaceSeparator or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator => text.Append(' '),
                0x85 or 0x2800 => text.Append(' '),
                0x2018 or 0x2019 or 0x201B or 0x02BC or 0x2032 => text.Append('\''),
                0x201C or 0x201D or 0x201E or 0x201F or 0x2033 => text.Append('"'),
                (>= 0x2010 and <= 0x2015) or 0x2212 => text.Append('-'),
                0x2044 or 0x2215 => text.Append('/'),
                0xDF or 0x1E9E => text.Append("ss"),
                0xE6 or 0xC6 => text.Append("ae"),
                0x153 or 0x152 => text.Append("oe"),
                >= 0x1F150 and <= 0x1F169 => text.Append((char)('a' + c - 0x1F150)),
                >= 0x1F170 and <= 0x1F189 => text.Append((char)('a' + c - 0x1F170)),
                _ => reduced.TryGetValue(c, out char letter) ? text.Append(letter) : text.Append(rune.ToString()),
            };
        }

        return text.ToString();
    }

    private static bool IsInvisible(int c, UnicodeCategory category) =>
        category == UnicodeCategory.Format || (category == UnicodeCategory.Control && c != 0x85)
        || c is 0x034F or 0x115F or 0x1160 or 0x17B4 or 0x17B5 or (>= 0x180B and <= 0x180F) or (>= 0xFE00 and <= 0xFE0F) or (>= 0xE0000 and <= 0xE0FFF);

    // Accents, points and overlays over letters. Vowel signs of Indic and South-East Asian scripts and the voicing marks of
    // kana make other letters and stay.
    private static bool IsDisguisingMark(int c, UnicodeCategory category) =>
        c is >= 0x302A and <= 0x302F
        || (category is UnicodeCategory.NonSpacingMark or UnicodeCategory.EnclosingMark
            && c is < 0x0700 or (>= 0x1AB0 and <= 0x1AFF) or (>= 0x1DC0 and <= 0x1DFF) or (>= 0x20D0 and <= 0x20FF) or 0xFB1E or (>= 0xFE20 and <= 0xFE2F));

    private static SortedDictionary<int, (string Name, string Source, char Letter)> SingleLetters(string dataFolder)
    {
        var best = new SortedDictionary<int, (string Name, string Source, char Letter)>();
        var rank = new Dictionary<int, int>();
        foreach (string file in (string[])["confusables", "homoglyphs"])
        {
            foreach (var row in Table.Read(Path.Combine(dataFolder, file + ".tsv.gz")).Rows)
            {
                int source = Array.IndexOf(Sources, row[2]);
                if (source < 0 || row[0].Contains(' ', StringComparison.Ordinal))
                {
                    continue;
                }

                int codePoint = int.Parse(row[0], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
                if (codePoint is < 0x80 or > 0xFFFF || !char.IsLetter((char)codePoint) || (rank.TryGetValue(codePoint, out int known) && known <= source)
                    || Letter(row[1], row[3]) is not { } letter)
                {
                    continue;
                }

                rank[codePoint] = source;
                best[codePoint] = (row[3], row[2], letter);
            }
        }

        return best;
    }

    private static char? Letter(string skeletonHex, string name)
    {
        var skeleton = new StringBuilder();
        foreach (string hex in skeletonHex.Split(' '))
        {
            var rune = new Rune(int.Parse(hex, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture));
            if (Rune.GetUnicodeCategory(rune) != UnicodeCategory.NonSpacingMark)
            {
                skeleton.Append(rune.ToString().ToLowerInvariant());
            }
        }

        string text = skeleton.ToString();
        if (text == "rn")
        {
            return 'm';
        }

        if (text.Length != 1 || !char.IsAsciiLetterLower(text[0]))
        {
            return null;
        }

        // The security tables draw I, l and 1 as one shape; the letter's name says which was meant.
        bool isI = name.Contains("LETTER I", StringComparison.Ordinal) || name.Contains("IOTA", StringComparison.Ordinal)
            || name.Contains("BYELORUSSIAN", StringComparison.Ordinal) || name.Contains("DOTLESS I", StringComparison.Ordinal) || name.Contains("CAPITAL I", StringComparison.Ordinal);
        return text[0] == 'l' && isI ? 'i' : text[0];
    }

    private static void AppendRuns(StringBuilder text, SortedDictionary<int, string> replacements)
    {
        var entries = replacements.ToArray();
        for (int i = 0; i < entries.Length;)
        {
            var (first, value) = entries[i];
            int same = i + 1, rising = i + 1;
            while (same < entries.Length && entries[same].Key == first + same - i && entries[same].Value == value)
            {
                same++;
            }

            int? target = value.EnumerateRunes().Count() == 1 ? char.ConvertToUtf32(value, 0) : null;
            while (target is { } t && rising < entries.Length && entries[rising].Key == first + rising - i && entries[rising].Value is { Length: > 0 } next
                && next.EnumerateRunes().Count() == 1 && char.ConvertToUtf32(next, 0) == t + rising - i)
            {
                rising++;
            }

            int end = Math.Max(same, rising);
            text.Append(CultureInfo.InvariantCulture, $"{first:X4}");
            if (end - i > 1)
            {
                text.Append(CultureInfo.InvariantCulture, $"-{first + end - i - 1:X4}");
            }

            foreach (var rune in value.EnumerateRunes())
            {
                text.Append(CultureInfo.InvariantCulture, $" {rune.Value:X4}{(end - i > 1 && end == rising && same < rising ? "+" : "")}");
            }

            text.Append('\n');
            i = end;
        }
    }
}
