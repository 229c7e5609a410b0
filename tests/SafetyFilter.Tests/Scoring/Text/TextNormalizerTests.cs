using System.Text;
using CsCheck;
using SafetyFilter.Scoring.Text;

namespace SafetyFilter.Tests.Scoring.Text;

public sealed class TextNormalizerTests
{
    private static readonly Gen<string> AnyText = Gen.OneOf(
        Gen.String,
        Gen.String[Gen.Char['\u0020', '\u007E'], 0, 80],
        Gen.String[Gen.OneOf(Gen.Char['a', 'z'], Gen.Char['\u0370', '\u04FF'], Gen.Char['0', '9'], Gen.Const(' '), Gen.Const('$')), 0, 40],
        Gen.String[Gen.OneOf(Gen.Char['\u1100', '\u1200'], Gen.Char['\u3000', '\u30FF'], Gen.Char['\uAC00', '\uAC80'], Gen.Char['\uFB00', '\uFFEF']), 0, 40]);

    [Theory]
    [InlineData("Hello,  World\t!", " hello, world ! ")]
    [InlineData("ＦＵＬＬ ｗｉｄｔｈ ﬁne", " full width fine ")]
    [InlineData("in\u200Bvis\u00ADib\u2060le\uFEFF", " invisible ")]
    [InlineData("\u202Eright to left\u202C", " right to left ")]
    [InlineData("Z\u0341a\u0317\u030Flgo café naïve", " zalgo cafe naive ")]
    [InlineData("Straße ÆØÅ œuvre", " strasse aeoa oeuvre ")]
    [InlineData("p\u0430yp\u0430l", " paypal ")]
    [InlineData("\u0412\u0410D", " bad ")]
    [InlineData("you \u0440\u043E\u0440\u0435", " you pope ")]
    [InlineData("𝕗𝓻𝗲𝚎 Ⓒⓐⓢⓗ", " free cash ")]
    [InlineData("sh1t b@stard a$$hole n00b", " shit bastard asshole noob ")]
    [InlineData("soooo 1000000 !!!!!", " soo 1000000 !! ")]
    [InlineData("mp3 b2b 4ever 10a", " mp3 b2b 4ever 10a ")]
    [InlineData("don\u2019t “quote” a–b", " don't \"quote\" a-b ")]
    [InlineData("\u1112\u1161\u11AB\u1100\u1173\u11AF", " 한글 ")]
    [InlineData("   \u200B\u0301 ", "")]
    public void Normalize_Text_IsReducedToItsPlainForm(string text, string expected) => Assert.Equal(expected, Normalize(text));

    [Theory]
    [InlineData("Москва не верит слезам")]
    [InlineData("оса и рот, сок")]
    [InlineData("Ελλάδα και Κύπρος")]
    [InlineData("東京タワー が 好き")]
    [InlineData("हिन्दी भाषा")]
    [InlineData("новый iPhone за 500 рублей")]
    [InlineData("ЭТО РОССИЯ и USA")]
    public void Normalize_GenuineOtherScript_IsNotMadeLatin(string text)
    {
        string latinOnly(string value) => string.Concat(value.Where(char.IsAsciiLetter)).ToLowerInvariant();
        Assert.Equal(latinOnly(text), latinOnly(Normalize(text)));
    }

    [Fact]
    public void Normalize_EveryCodePoint_IsIdempotent()
    {
        for (int codePoint = 1; codePoint <= 0x10FFFF; codePoint++)
        {
            if (codePoint is >= 0xD800 and <= 0xDFFF)
            {
                continue;
            }

            string once = Normalize("a" + char.ConvertFromUtf32(codePoint) + " b");
            Assert.Equal(once, Normalize(once));
        }
    }

    [Fact]
    public void Normalize_AnyText_IsIdempotent() => AnyText.Sample(text => Normalize(Normalize(text)) == Normalize(text), iter: 20_000);

    [Fact]
    public void Normalize_CanonicallyEquivalentText_IsTheSame() => AnyText.Where(IsUnicode).Sample(
        text => Normalize(text.Normalize(NormalizationForm.FormC)) == Normalize(text)
            && Normalize(text.Normalize(NormalizationForm.FormKC)) == Normalize(text)
            && Normalize(text.Normalize(NormalizationForm.FormD)) == Normalize(text),
        iter: 20_000,
        print: CodeUnits);

    [Fact]
    public void Normalize_TextLongerThanDestination_IsCutAndStillEndsInASpace()
    {
        Span<char> destination = stackalloc char[12];
        int length = TextNormalizer.Normalize("the quick brown fox"u8, destination);
        Assert.Equal(" the quick ", destination[..length].ToString());
    }

    [Fact]
    public void Normalize_InvisibleCharactersBeforeAWord_DoNotPushItOut()
    {
        Span<char> destination = stackalloc char[12];
        int length = TextNormalizer.Normalize(Encoding.UTF8.GetBytes(new string('\u200B', 5000) + new string(' ', 5000) + "word"), destination);
        Assert.Equal(" word ", destination[..length].ToString());
    }

    private static string Normalize(string text)
    {
        Span<char> destination = stackalloc char[2050];
        return destination[..TextNormalizer.Normalize(Encoding.UTF8.GetBytes(text), destination)].ToString();
    }

    // As text, a counter-example of invisible characters would say nothing.
    private static string CodeUnits(string text) => string.Join(' ', text.Select(static c => ((int)c).ToString("X4", System.Globalization.CultureInfo.InvariantCulture)));

    private static bool IsUnicode(string text)
    {
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] >= '\uFFFE' || (char.IsSurrogate(text[i]) && !char.IsSurrogatePair(text, i++)))
            {
                return false;
            }
        }

        return true;
    }
}
