using System.Buffers;
using System.Text;

namespace SafetyFilter.Scoring.Text;

/// <summary>
/// Brings a text into the form whose n-grams are hashed: compatibility-decomposed, lower case, without invisible
/// characters and accents, one space between words, disguised Latin words undone. Deterministic on every host, total
/// over all bytes, idempotent, and without allocation. The form is for comparing only, never for showing.
/// </summary>
/// <remarks>
/// Lookalikes. A word that mixes Latin letters with letters that pass for Latin ones (paypаl with a Cyrillic а) has them
/// folded. A word wholly of lookalikes (рорре) is folded only in a text that has Latin letters and whose other letters
/// all pass for Latin ones too; so Russian, Greek and the like stay themselves. Digits and signs between two Latin
/// letters (sh1t, b@stard) are read as the letters they stand for, and any character's third repeat in a row is dropped.
/// </remarks>
internal static class TextNormalizer
{
    // What an ASCII byte becomes: 0 is dropped, letters are lower case, white space is a space.
    private static readonly byte[] Ascii = MakeAscii();

    // a..z where a digit or sign stands for a letter, else 0. Not '!' and '|', which end words more often than they hide letters.
    private static readonly byte[] Leet = MakeLeet();

    /// <summary>
    /// Writes at most <paramref name="destination"/>.Length UTF-16 code units, the first and last of which are spaces; a text
    /// with nothing in it gives none. What does not fit is not read. The destination needs room for 3.
    /// </summary>
    public static int Normalize(ReadOnlySpan<byte> utf8, Span<char> destination)
    {
        destination[0] = ' ';
        var words = destination[1..^1];
        int length = System.Text.Ascii.IsValid(utf8) ? CopyAscii(utf8, words) : CopyUnicode(utf8, words);
        length = UndoTricks(words[..length]);
        while (length > 0 && words[length - 1] == ' ')
        {
            length--;
        }

        if (length == 0)
        {
            return 0;
        }

        words = destination[1..];
        words[length] = ' ';
        return length + 2;
    }

    private static int CopyAscii(ReadOnlySpan<byte> text, Span<char> words)
    {
        int length = 0;
        char previous = ' ';
        foreach (byte b in text)
        {
            char c = (char)Ascii[b];
            if (c == 0 || (c == ' ' && previous == ' '))
            {
                continue;
            }

            if (length == words.Length)
            {
                break;
            }

            words[length++] = previous = c;
        }

        return length;
    }

    private static int CopyUnicode(ReadOnlySpan<byte> text, Span<char> words)
    {
        int length = 0;
        char previous = ' ';
        Span<char> pair = stackalloc char[2];
        while (!text.IsEmpty)
        {
            // Invalid bytes decode as U+FFFD, one for each maximal invalid subsequence.
            Rune.DecodeFromUtf8(text, out var rune, out int consumed);
            text = text[consumed..];
            scoped ReadOnlySpan<char> replacement;
            if (!UnicodeFold.TryReplace(rune.Value, out replacement))
            {
                replacement = pair[..rune.EncodeToUtf16(pair)];
            }

            if (length + replacement.Length > words.Length)
            {
                break;
            }

            foreach (char unit in replacement)
            {
                char c = unit < 0x80 && unit is not (>= 'A' and <= 'Z') ? (char)Ascii[unit] : unit;
                if (c == 0 || (c == ' ' && previous == ' ') || (length > 0 && ComposeHangul(ref words[length - 1], c)))
                {
                    continue;
                }

                words[length++] = previous = c;
            }
        }

        FoldLookalikes(words[..length]);
        foreach (ref char c in words[..length])
        {
            c = c == 'ς' ? 'σ' : char.ToLowerInvariant(c);
        }

        return length;
    }

    // The algorithm of the Unicode Standard, section 3.12: conjoining jamo become the syllable they spell.
    private static bool ComposeHangul(ref char last, char next)
    {
        int syllable;
        if (last is >= '\u1100' and <= '\u1112' && next is >= '\u1161' and <= '\u1175')
        {
            syllable = 0xAC00 + ((last - 0x1100) * 588) + ((next - 0x1161) * 28);
        }
        else if (last is >= '\uAC00' and <= '\uD7A3' && (last - 0xAC00) % 28 == 0 && next is > '\u11A7' and <= '\u11C2')
        {
            syllable = last + (next - 0x11A7);
        }
        else
        {
            return false;
        }

        last = (char)syllable;
        return true;
    }

    private static void FoldLookalikes(Span<char> text)
    {
        bool latin = false, foreign = false;
        for (int start = 0; start < text.Length;)
        {
            bool wordLatin = false, wordLookalike = false;
            int end = start;
            for (; end < text.Length && char.IsLetter(text[end]); end++)
            {
                wordLatin |= IsLatin(text[end]);
                wordLookalike |= UnicodeFold.Lookalike(text[end]) != 0;
            }

            latin |= wordLatin;
            if (wordLatin && wordLookalike)
            {
                Fold(text[start..end]);
            }

            foreach (char c in text[start..end])
            {
                foreign |= !IsLatin(c) && !UnicodeFold.IsStrictLookalike(c);
            }

            start = Math.Max(end, start + 1);
        }

        if (latin && !foreign)
        {
            Fold(text);
        }

        static void Fold(Span<char> letters)
        {
            foreach (ref char c in letters)
            {
                c = UnicodeFold.Lookalike(c) is var letter and not '\0' ? letter : c;
            }
        }
    }

    // Other Latin letters have become ASCII by now, or are so far from it that they say nothing about a disguise.
    private static bool IsLatin(char c) => char.IsAsciiLetter(c);

    // Repeats go before the signs are read (a$$$hole has two) and after (l33eet has two).
    private static int UndoTricks(Span<char> text)
    {
        text = text[..DropThirdRepeats(text)];
        bool read = false;
        for (int i = 1; i + 1 < text.Length; i++)
        {
            if (text[i] < 0x80 && Leet[text[i]] != 0 && char.IsAsciiLetterLower(text[i - 1]))
            {
                int end = text[i + 1] == text[i] ? i + 2 : i + 1;
                if (end < text.Length && char.IsAsciiLetterLower(text[end]))
                {
                    text[i..end].Fill((char)Leet[text[i]]);
                    read = true;
                }
            }
        }

        return read ? DropThirdRepeats(text) : text.Length;
    }

    private static int DropThirdRepeats(Span<char> text)
    {
        int length = 0;
        char last = '\0', beforeLast = '\0';
        foreach (char c in text)
        {
            if (c != last || c != beforeLast || char.IsAsciiDigit(c) || char.IsSurrogate(c))
            {
                text[length++] = c;
                beforeLast = last;
                last = c;
            }
        }

        return length;
    }

    private static byte[] MakeAscii()
    {
        var table = new byte[128];
        for (int c = 0; c < table.Length; c++)
        {
            table[c] = (byte)(c is ' ' or (>= '\t' and <= '\r') ? ' ' : c is < ' ' or 0x7F ? 0 : char.ToLowerInvariant((char)c));
        }

        return table;
    }

    private static byte[] MakeLeet()
    {
        var table = new byte[128];
        foreach (var (sign, letter) in "0o1i3e4a5s7t$s@a".Chunk(2).Select(pair => (pair[0], pair[1])))
        {
            table[sign] = (byte)letter;
        }

        return table;
    }
}
