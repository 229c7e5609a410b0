using System.Buffers.Binary;
using System.IO.Hashing;
using System.Text;
using CsCheck;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Scoring;

public sealed class InputDigestTests
{
    [Fact]
    public void Compute_TextsAndTensors_HashesTheDocumentedFrame()
    {
        var batch = BatchBuilder.Of(2)
            .Text("title", "a", "Grüße")
            .HalfTensor("half", [1f], [2f])
            .Tensor("embedding", DataType.Float32, [2, 1], [1f, 2], [3f, 4])
            .Text("body", "x", "y")
            .Build();
        var expected = XxHash128.Hash(
        [
            .. Text("body", "y"),
            2, .. Name("embedding"), .. Int32(2), .. Int64(2), .. Int64(1), .. Int32(8), .. BitConverter.GetBytes(3f), .. BitConverter.GetBytes(4f),
            3, .. Name("half"), .. Int32(1), .. Int64(1), .. Int32(2), .. BitConverter.GetBytes((Half)2f),
            .. Text("title", "Grüße"),
        ]);
        Assert.Equal(expected, Digests(batch)[1]);
    }

    [Fact]
    public void Compute_OrderOfColumnsAndOtherFields_DoesNotMatter()
    {
        var one = BatchBuilder.Of(1).Text("a", "x").Tensor("b", [1f]).Build();
        var other = new BatchBuilder("other").Request("r2").Versions("v9").Languages("de").Tensor("b", [1f]).Attribute("tier", 3.0).Text("a", "x").Build();
        Assert.Equal(Digests(one), Digests(other));
    }

    [Fact]
    public void Compute_TextBeforeTensorOfTheSameName_WhateverTheOrder()
    {
        var one = BatchBuilder.Of(1).Text("a", "x").Tensor("a", [1f]).Build();
        var other = BatchBuilder.Of(1).Tensor("a", [1f]).Text("a", "x").Build();
        Assert.Equal(Digests(one), Digests(other));
    }

    [Fact]
    public void Compute_MissingFeature_EqualsAbsentButNotEmpty()
    {
        var missing = Digests(BatchBuilder.Of(2).Text("a", null, "").Text("b", "x", "x").Build());
        var absent = Digests(BatchBuilder.Of(1).Text("b", "x").Build());
        Assert.Equal(absent[0], missing[0]);
        Assert.NotEqual(absent[0], missing[1]);
    }

    [Fact]
    public void Compute_NoInputs_IsTheDigestOfNothing() =>
        Assert.Equal("99aa06d3014798d86001c324468d497f", Convert.ToHexStringLower(Digests(BatchBuilder.Of(1).Build())[0]));

    [Fact]
    public void Compute_DifferentInputs_HaveDifferentDigests()
    {
        // Each of these moves a border between two fields that plain concatenation would lose.
        CandidateBatch[] batches =
        [
            BatchBuilder.Of(1).Text("a", "bc").Build(),
            BatchBuilder.Of(1).Text("ab", "c").Build(),
            BatchBuilder.Of(1).Text("a", "").Text("b", "c").Build(),
            BatchBuilder.Of(1).Text("a", "b").Text("b", "c").Build(),
            BatchBuilder.Of(1).Tensor("a", [0f, 0]).Build(),
            BatchBuilder.Of(1).Tensor("a", DataType.Float32, [2, 1], [0f, 0]).Build(),
            BatchBuilder.Of(1).Tensor("a", [0f]).Build(),
            BatchBuilder.Of(1).HalfTensor("a", [0f, 0]).Build(),
            BatchBuilder.Of(1).Text("a", "\0\0\0\0").Build(),
        ];
        Assert.Equal(batches.Length, batches.Select(batch => Convert.ToHexString(Digests(batch)[0])).Distinct(StringComparer.Ordinal).Count());
    }

    [Fact]
    public void Compute_AnyTexts_DependsOnThatCandidateOnly() =>
        Gen.String.Array[1, 100].Sample(
            texts =>
            {
                var together = Digests(BatchBuilder.Of(texts.Length).Text("text", texts).Build());
                for (var i = 0; i < texts.Length; i++)
                {
                    Assert.Equal(Digests(BatchBuilder.Of(1).Text("text", texts[i]).Build())[0], together[i]);
                }
            },
            iter: 50,
            threads: 1);

    [Fact]
    public void Compute_Again_AllocatesNothing()
    {
        var batch = BatchBuilder.Of(64).Text("text", [.. Enumerable.Repeat("a title of words", 64)])
            .Tensor("embedding", [.. Enumerable.Repeat(new float[128], 64)]).Build();
        var digests = new byte[64 * InputDigest.Size];

        Assert.Equal(0, AllocatedBytes.Of(100, () => InputDigest.Compute(batch, digests)));
    }

    private static byte[][] Digests(CandidateBatch batch)
    {
        var digests = new byte[batch.Count * InputDigest.Size];
        InputDigest.Compute(batch, digests);
        return [.. digests.Chunk(InputDigest.Size)];
    }

    private static byte[] Text(string name, string text) => [1, .. Name(name), .. Int32(Encoding.UTF8.GetByteCount(text)), .. Encoding.UTF8.GetBytes(text)];

    private static byte[] Name(string name) => [.. Int32(name.Length), .. Encoding.UTF8.GetBytes(name)];

    private static byte[] Int32(int value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        return bytes;
    }

    private static byte[] Int64(long value)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, value);
        return bytes;
    }
}
