using System.Numerics;
using System.Runtime.CompilerServices;

namespace SafetyFilter.Scoring.Text;

/// <summary>
/// Turns a text into bucket indices of hashed n-grams, the same in training and in serving. Thread-safe; a call
/// allocates nothing. Features are a set: what repeats in a text counts once, so that repetition neither raises nor
/// dilutes a score. In this order, until MaxFeatures: words and signs, word pairs, then character n-grams within words.
/// </summary>
/// <remarks>Changing anything here changes every model's features: retrain all bundles with it.</remarks>
internal sealed class TextFeaturizer
{
    private const ulong Multiplier = 0x9E3779B97F4A7C15;

    // The longest character n-gram that TextFeaturizerOptions allows.
    private const int MostCharacters = 8;

    // Starts of character n-grams whose hashes are made at a time.
    private const int Block = 64;

    private readonly ulong _wordSeed;
    private readonly ulong _charSeed;
    private readonly uint _range;
    private readonly bool _words;
    private readonly bool _wordPairs;
    private readonly int[] _charLengths;

    public TextFeaturizer(TextFeaturizerOptions options)
    {
        Options = options;
        _wordSeed = Mix((ulong)(uint)options.Seed + Multiplier);
        _charSeed = Mix(_wordSeed);
        _range = (uint)options.Buckets - 1;
        _words = options.WordNgrams.Contains(1);
        _wordPairs = options.WordNgrams.Contains(2);
        _charLengths = [.. options.CharNgrams.Distinct().Order()];
    }

    public TextFeaturizerOptions Options { get; }

    /// <summary>
    /// Writes the text's distinct bucket indices, each 1..Buckets-1, and returns how many: at most MaxFeatures and at most
    /// the span's length. Any bytes will do: invalid UTF-8 reads as U+FFFD.
    /// </summary>
    [SkipLocalsInit]
    public int Featurize(ReadOnlySpan<byte> utf8, Span<int> indices)
    {
        // Hashing reads past the end, where whatever stands there makes no n-gram.
        Span<char> buffer = stackalloc char[Options.MaxChars + 2 + MostCharacters];
        var text = buffer[..TextNormalizer.Normalize(utf8, buffer[..^MostCharacters])];
        if (indices.Length > Options.MaxFeatures)
        {
            indices = indices[..Options.MaxFeatures];
        }

        // A text of n characters has at most this many features, so short titles clear a short table.
        int possible = Math.Min(indices.Length, text.Length * (2 + _charLengths.Length));
        Span<int> seen = stackalloc int[(int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(possible, 8)) * 2];
        seen.Clear();
        var features = new FeatureSet(indices, seen, _range);
        if (_words || _wordPairs)
        {
            AddWords(text, ref features);
        }

        if (_charLengths.Length != 0)
        {
            AddCharacters(buffer, text.Length, ref features);
        }

        return features.Count;
    }

    private void AddWords(ReadOnlySpan<char> text, ref FeatureSet features)
    {
        ulong previous = _wordSeed;
        for (int i = 1; i < text.Length && !features.IsFull;)
        {
            int start = i;
            ulong hash = _wordSeed;
            bool number = true;
            for (; i < text.Length; i++)
            {
                char c = text[i];
                if (!IsWordCharacter(c))
                {
                    // don't and dont are one word.
                    if (c == '\'' && i > start && IsWordCharacter(text[i + 1]))
                    {
                        continue;
                    }

                    break;
                }

                number &= char.IsAsciiDigit(c);
                hash = Step(hash, c);
            }

            if (i == start)
            {
                i = AddSign(text, i, ref features);
                continue;
            }

            // A long number is a phone number or a code: only its length says something that another text shares.
            ulong shape = number ? Step(_wordSeed ^ Multiplier, i - start) : hash;
            if (_words)
            {
                features.Add(Mix(shape));
                if (number && i - start <= 4)
                {
                    features.Add(Mix(hash));
                }
            }

            if (_wordPairs && previous != _wordSeed)
            {
                features.Add(Mix((previous * Multiplier) + shape + 1));
            }

            previous = shape;
        }
    }

    // Signs and emoji are words of their own, a sign said twice is another word; they do not part a pair of words.
    private int AddSign(ReadOnlySpan<char> text, int i, ref FeatureSet features)
    {
        char c = text[i];
        if (c == ' ')
        {
            return i + 1;
        }

        ulong hash = Step(_wordSeed, c);
        int next = i + 1;
        if (char.IsHighSurrogate(c) && next < text.Length)
        {
            hash = Step(hash, text[next++]);
        }
        else if (text[next] == c)
        {
            hash = Step(hash, c);
            next++;
        }

        if (_words)
        {
            features.Add(Mix(hash));
        }

        return next;
    }

    // An n-gram begins at a space or within a word and ends with the word's last space at the latest. Words are short and of all lengths, so a
    // branch on where they end would be mispredicted all the time: every length is hashed from every start, and only what lies within
    // the word is kept.
    [SkipLocalsInit]
    private void AddCharacters(ReadOnlySpan<char> buffer, int length, ref FeatureSet features)
    {
        ReadOnlySpan<int> lengths = _charLengths;
        Span<ulong> hashes = stackalloc ulong[Block * MostCharacters];
        for (int start = 0; start + 1 < length && !features.IsFull;)
        {
            int kept = 0;
            for (int block = start + Block; start < block && start + 1 < length;)
            {
                int space = start + 1 + buffer[(start + 1)..length].IndexOf(' ');
                for (int end = Math.Min(space, block); start < end; start++)
                {
                    int i = start;
                    ulong hash = _charSeed;
                    foreach (int characters in lengths)
                    {
                        for (; i < start + characters; i++)
                        {
                            hash = Step(hash, buffer[i]);
                        }

                        hashes[kept] = hash;
                        kept += i <= space + 1 ? 1 : 0;
                    }
                }
            }

            foreach (ulong hash in hashes[..kept])
            {
                features.Add(Mix(hash));
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsWordCharacter(char c) => c < 0x80
        ? char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c)
        : char.IsLetterOrDigit(c) || char.GetUnicodeCategory(c) is System.Globalization.UnicodeCategory.NonSpacingMark
            or System.Globalization.UnicodeCategory.SpacingCombiningMark;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Step(ulong hash, int value) => (hash ^ (uint)value) * 0xD6E8FEB86659FD93 + 0x2545F4914F6CDD1D;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Mix(ulong hash)
    {
        hash ^= hash >> 32;
        hash *= Multiplier;
        return hash ^ (hash >> 29);
    }

    // The indices so far, and an open-addressing table of them: a text has a few hundred, so it fits the stack.
    private ref struct FeatureSet(Span<int> indices, Span<int> seen, uint range)
    {
        private readonly Span<int> _indices = indices;
        private readonly Span<int> _seen = seen;

        public int Count { get; private set; }

        public readonly bool IsFull => Count == _indices.Length;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Add(ulong hash)
        {
            if (IsFull)
            {
                return;
            }

            int bucket = 1 + (int)(((hash >> 32) * range) >> 32);
            int slot = bucket & (_seen.Length - 1);
            while (_seen[slot] != 0)
            {
                if (_seen[slot] == bucket)
                {
                    return;
                }

                slot = (slot + 1) & (_seen.Length - 1);
            }

            _seen[slot] = bucket;
            _indices[Count++] = bucket;
        }
    }
}
