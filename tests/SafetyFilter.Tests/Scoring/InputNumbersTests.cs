using CsCheck;
using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Scoring;

public sealed class InputNumbersTests
{
    [Fact]
    public void Admit_AnyNumbers_AgreesWithTheObviousLoop() =>
        Gen.Float.Array[0, 70].Sample(
            numbers =>
            {
                var expected = numbers.All(number => number >= -2 && number <= 3);
                var flushed = Array.ConvertAll(numbers, number => float.IsSubnormal(number) ? MathF.CopySign(0, number) : number);
                Assert.Equal(expected, InputNumbers.Admit(numbers, -2, 3));
                Assert.Equal(Array.ConvertAll(flushed, BitConverter.SingleToInt32Bits), Array.ConvertAll(numbers, BitConverter.SingleToInt32Bits));
            },
            iter: 5000,
            threads: 1);

    [Fact]
    public void Admit_SubnormalNumbers_BecomeZeroOfTheirSign()
    {
        // One vector and a tail of anything up to 512 bits.
        var numbers = Enumerable.Repeat(new[] { 1e-40f, -1e-40f, 1.17549435e-38f, -float.Epsilon }, 6).SelectMany(number => number).ToArray();
        Assert.True(InputNumbers.Admit(numbers, -1, 1));
        Assert.Equal(Enumerable.Repeat(new[] { 0, -0f, 1.17549435e-38f, -0f }, 6).SelectMany(number => number).Select(BitConverter.SingleToInt32Bits), numbers.Select(BitConverter.SingleToInt32Bits));
    }

    [Fact]
    public void Admit_LimitsThemselves_AreInside() => Assert.True(InputNumbers.Admit([-2, 3, 0], -2, 3));
}
