using System.Text;
using System.Text.Json;
using CsCheck;
using SafetyFilter.Scoring.Text;

namespace SafetyFilter.Tests.Scoring.Text;

public sealed class TextFeaturizerTests
{
    private static readonly TextFeaturizer Featurizer = new(new TextFeaturizerOptions(1 << 17, 7, [1, 2], [3, 5], 512, 1024));

    private static readonly Gen<string> Words = Gen.String[Gen.OneOf(Gen.Char['a', 'z'], Gen.Char['A', 'Z'], Gen.Const(' ')), 0, 60];

    // Letters of other scripts drawn like the Latin one, in the same case.
    private static readonly Dictionary<char, string> Homoglyphs = new()
    {
        ['a'] = "\u0430\u0251\u03B1",
        ['c'] = "\u0441",
        ['e'] = "\u0435",
        ['i'] = "\u0456\u0131\u03B9",
        ['o'] = "\u043E\u03BF\u0585",
        ['p'] = "\u0440\u03C1",
        ['s'] = "\u0455",
        ['x'] = "\u0445",
        ['y'] = "\u0443",
        ['A'] = "\u0410\u0391",
        ['B'] = "\u0412\u0392",
        ['E'] = "\u0415\u0395",
        ['H'] = "\u041D\u0397",
        ['K'] = "\u041A\u039A",
        ['M'] = "\u041C\u039C",
        ['T'] = "\u0422\u03A4",
    };

    [Fact]
    public void Featurize_AnyBytes_YieldsDistinctIndicesWithinTheBuckets() => Gen.Byte.Array[0, 300].Sample(bytes =>
    {
        var indices = Features(Featurizer, bytes);
        return indices.All(i => i is >= 1 and < 1 << 17) && indices.Distinct().Count() == indices.Length && indices.Length <= 512;
    });

    [Fact]
    public void Featurize_FewBuckets_NeverYieldsThePaddingBucketNorTheBound()
    {
        var small = new TextFeaturizer(new TextFeaturizerOptions(8, 1, [1, 2], [2, 3, 4], 64, 200));
        Words.Sample(text => Features(small, text) is var indices && indices.All(i => i is >= 1 and <= 7) && indices.Length <= 7);
    }

    [Fact]
    public void Featurize_SameText_YieldsTheSame() => Gen.Byte.Array[0, 200].Sample(
        bytes => Features(Featurizer, bytes).SequenceEqual(Features(new TextFeaturizer(Featurizer.Options), bytes)));

    [Fact]
    public void Featurize_UpperCase_YieldsTheSame() => Words.Sample(text => Same(text, text.ToUpperInvariant()));

    [Fact]
    public void Featurize_ZeroWidthCharactersInserted_YieldsTheSame() =>
        Gen.Select(Words, Gen.Int[0, 60], Gen.OneOf(Gen.Const('\u200B'), Gen.Const('\u200D'), Gen.Const('\u00AD'), Gen.Const('\u2066'), Gen.Const('\uFEFF'), Gen.Const('\u0336'), Gen.Const('\uFE0F'))).Sample(
            (text, at, hidden) => Same(text, text.Insert(Math.Min(at, text.Length), hidden.ToString())));

    [Fact]
    public void Featurize_HomoglyphsInLatinText_YieldsTheSame() => Gen.Select(Words, Gen.Int).Sample((text, seed) =>
    {
        var random = new Random(seed);
        string disguised = string.Concat(text.Select(c => Homoglyphs.TryGetValue(c, out string? alike) && random.Next(2) == 0 ? alike[random.Next(alike.Length)] : c));
        return Same("q " + text, "q " + disguised);
    });

    [Fact]
    public void Featurize_RepeatedText_YieldsNoMoreOfTheSameWord() =>
        Assert.Equal(Features(Featurizer, "spam").Length + 1, Features(Featurizer, string.Join(' ', Enumerable.Repeat("spam", 50))).Length);

    [Fact]
    public void Featurize_DifferentTexts_YieldDifferentFeatures()
    {
        Assert.False(Same("you are kind", "you are cruel"));
        Assert.False(Same("dog bites man", "man bites dog"));
        Assert.False(Same("what", "what?"));
        Assert.False(Same("what?", "what??"));
        Assert.False(Same("👍", "👎"));
        Assert.False(Same("17 reasons", "reasons"));
    }

    [Fact]
    public void Featurize_OtherSeed_YieldsOtherFeatures() => Assert.Empty(
        Features(Featurizer, "some words").Intersect(Features(new TextFeaturizer(Featurizer.Options with { Seed = 8 }), "some words")));

    [Fact]
    public void Featurize_LongText_KeepsWordsBeforeCharacterNgrams()
    {
        string text = string.Join(' ', Enumerable.Range(0, 90).Select(i => $"{(char)('a' + (i % 26))}{(char)('a' + (i / 26))}word"));
        var wordsOnly = new TextFeaturizer(Featurizer.Options with { CharNgrams = [] });
        Assert.Equal(Features(wordsOnly, text), Features(Featurizer, text).Take(179));
        Assert.Equal(512, Features(Featurizer, text).Length);
    }

    // Texts with words longer than the starts that are hashed at a time, and longer than MaxChars.
    [Fact]
    public void Featurize_AnyLengths_YieldsTheNgramsWithinWordsInOrder() =>
        Gen.Select(
            Gen.Char["abcdefgh     "].Array[0, 200], Gen.Int[0, 3].Select(static n => new string('x', n * 50).Replace("xxxxx", "klmno", StringComparison.Ordinal)),
            Gen.Int[2, 8].Array[1, 4], Gen.Int[1, 300], Gen.Int[1, 160])
        .Sample((some, word, lengths, maxFeatures, maxChars) =>
        {
            var options = new TextFeaturizerOptions(1 << 17, 3, [], [.. lengths], maxFeatures, maxChars);
            var utf8 = Encoding.UTF8.GetBytes(word + new string(some) + word);
            return Features(new TextFeaturizer(options), utf8).SequenceEqual(CharacterNgrams(utf8, options));
        });

    [Fact]
    public void Featurize_ShortSpan_WritesNoMoreThanFits()
    {
        Span<int> three = stackalloc int[3];
        Assert.Equal(3, Featurizer.Featurize("a longer text than that"u8, three));
    }

    [Theory]
    [InlineData("A perfectly ordinary title about nothing much, part 2")]
    [InlineData("Ça va? Обычный заголовок о p\u0430ypal и 日本語 🎉")]
    public void Featurize_AfterTheFirstCall_AllocatesNothing(string text)
    {
        byte[] utf8 = Encoding.UTF8.GetBytes(text);
        int[] indices = new int[512];

        Assert.Equal(0, AllocatedBytes.Of(100, () => Featurizer.Featurize(utf8, indices)));
    }

    [Fact]
    public void Parse_GoodParameters_ReadsThem()
    {
        var options = Parse("""{"buckets":1024,"seed":7,"wordNgrams":[1,2],"charNgrams":[3,5],"maxFeatures":512,"maxChars":1024}""", out string? error);
        Assert.Null(error);
        Assert.Equal((1024, 7, 512, 1024), (options!.Buckets, options.Seed, options.MaxFeatures, options.MaxChars));
        Assert.Equal([1, 2], options.WordNgrams);
        Assert.Equal([3, 5], options.CharNgrams);
    }

    [Theory]
    [InlineData("""{"buckets":1,"seed":7,"wordNgrams":[1],"charNgrams":[3],"maxFeatures":9,"maxChars":9}""", "buckets is 1")]
    [InlineData("""{"buckets":64,"seed":"x","wordNgrams":[1],"charNgrams":[3],"maxFeatures":9,"maxChars":9}""", "seed is \"x\"")]
    [InlineData("""{"buckets":64,"seed":7,"wordNgrams":[3],"charNgrams":[3],"maxFeatures":9,"maxChars":9}""", "wordNgrams is [3]")]
    [InlineData("""{"buckets":64,"seed":7,"wordNgrams":[1],"charNgrams":[3.5],"maxFeatures":9,"maxChars":9}""", "charNgrams is [3.5]")]
    [InlineData("""{"buckets":64,"seed":7,"wordNgrams":[],"charNgrams":[],"maxFeatures":9,"maxChars":9}""", "both empty")]
    [InlineData("""{"buckets":64,"seed":7,"wordNgrams":[1],"charNgrams":[3],"maxFeatures":9}""", "maxChars is absent")]
    [InlineData("[]", "parameters is Array")]
    public void Parse_BadParameters_NamesTheFirst(string json, string expected)
    {
        Assert.Null(Parse(json, out string? error));
        Assert.Contains(expected, error, StringComparison.Ordinal);
    }

    private static TextFeaturizerOptions? Parse(string json, out string? error)
    {
        using var document = JsonDocument.Parse(json);
        return TextFeaturizerOptions.Parse(document.RootElement, out error);
    }

    private static bool Same(string a, string b) => Features(Featurizer, a).SequenceEqual(Features(Featurizer, b));

    private static int[] Features(TextFeaturizer featurizer, string text) => Features(featurizer, Encoding.UTF8.GetBytes(text));

    // The definition, written down for reading.
    private static int[] CharacterNgrams(byte[] utf8, TextFeaturizerOptions options)
    {
        var buffer = new char[options.MaxChars + 2];
        var text = new string(buffer, 0, TextNormalizer.Normalize(utf8, buffer));
        var seed = Mix(Mix((ulong)(uint)options.Seed + 0x9E3779B97F4A7C15));
        var ngrams =
            from start in Enumerable.Range(0, text.Length)
            from length in options.CharNgrams.Distinct().Order()
            where start + length <= text.Length
            let ngram = text.Substring(start, length)
            where !ngram[1..^1].Contains(' ', StringComparison.Ordinal) && !ngram.All(static c => c == ' ')
            let hash = Mix(ngram.Aggregate(seed, static (hash, c) => (hash ^ c) * 0xD6E8FEB86659FD93 + 0x2545F4914F6CDD1D))
            select 1 + (int)(((hash >> 32) * ((ulong)options.Buckets - 1)) >> 32);
        return [.. ngrams.Distinct().Take(options.MaxFeatures)];

        static ulong Mix(ulong hash)
        {
            hash ^= hash >> 32;
            hash *= 0x9E3779B97F4A7C15;
            return hash ^ (hash >> 29);
        }
    }

    private static int[] Features(TextFeaturizer featurizer, byte[] utf8)
    {
        var indices = new int[featurizer.Options.MaxFeatures];
        return indices[..featurizer.Featurize(utf8, indices)];
    }
}
