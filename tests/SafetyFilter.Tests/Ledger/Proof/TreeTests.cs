using System.Globalization;
using System.Text;
using CsCheck;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Tests.Ledger.Proof;

public sealed class TreeTests
{
    private const int MaxLeaves = 300;

    // Certificate Transparency's test vectors (merkletree/merkle_tree_test.cc).
    private static readonly string[] Inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

    private static readonly string[] Roots =
    [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    private static readonly byte[][] Leaves =
        [.. Enumerable.Range(0, MaxLeaves).Select(index => Rfc6962.Leaf(Encoding.ASCII.GetBytes(index.ToString(CultureInfo.InvariantCulture))))];

    [Fact]
    public void Root_TestVectorsOfCertificateTransparency_AreMet()
    {
        var tree = new CompactRange(0);
        Assert.Equal(Roots[0], tree.Root().ToString());
        for (var index = 0; index < Inputs.Length; index++)
        {
            tree.Append(TreeHash.OfLeaf(Convert.FromHexString(Inputs[index])));
            Assert.Equal(Roots[index + 1], tree.Root().ToString());
        }
    }

    [Fact]
    public void Path_TestVectorOfCertificateTransparency_IsMet()
    {
        var leaves = Inputs.Select(input => TreeHash.OfLeaf(Convert.FromHexString(input))).ToList();
        var proof = new InclusionProof(new CompactRange(0), leaves[0]);
        leaves[1..].ForEach(leaf => proof.Append(leaf));

        Assert.Equal(
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
            proof.Path().Select(hash => hash.ToString()));
    }

    [Fact]
    public void Root_OfEverySize_IsTheRfcs()
    {
        var tree = new CompactRange(0);
        for (var size = 0; size <= MaxLeaves; size++)
        {
            Assert.Equal(Convert.ToHexStringLower(Rfc6962.Root(Leaves.AsSpan(0, size))), tree.Root().ToString());
            Assert.Equal(tree.Root(), CompactRange.TryRead(0, (ulong)size, tree.ToArray())!.Root());
            if (size < MaxLeaves)
            {
                tree.Append(TreeHash.Read(Leaves[size]));
            }
        }
    }

    [Fact]
    public void TryAppend_RangesCutAnywhere_GiveTheWholeTree() =>
        Gen.Select(Gen.Int[0, MaxLeaves].Array[0, 5], Gen.Int[0, MaxLeaves]).Sample((cuts, size) =>
        {
            var tree = new CompactRange(0);
            var begin = 0;
            foreach (var end in cuts.Where(cut => cut < size).Append(size).Order())
            {
                var part = RangeOf(begin, end);
                var stored = CompactRange.TryRead((ulong)begin, (ulong)end, part.ToArray());
                Assert.NotNull(stored);
                Assert.True(tree.TryAppend(stored));
                begin = end;
            }

            Assert.Equal((ulong)size, tree.End);
            Assert.Equal(Convert.ToHexStringLower(Rfc6962.Root(Leaves.AsSpan(0, size))), tree.Root().ToString());
        });

    [Fact]
    public void TryAppend_ARangeThatBeginsElsewhere_ChangesNothing()
    {
        var tree = RangeOf(0, 7);
        var root = tree.Root();

        Assert.False(tree.TryAppend(RangeOf(8, 9)));

        Assert.Equal((7UL, root), (tree.End, tree.Root()));
    }

    [Fact]
    public void TryRead_AHashTooManyOrTooFew_IsNothing() =>
        Gen.Select(Gen.Int[0, MaxLeaves], Gen.Int[0, MaxLeaves]).Sample((one, other) =>
        {
            var (begin, end) = (Math.Min(one, other), Math.Max(one, other));
            var bytes = RangeOf(begin, end).ToArray();
            Assert.NotNull(CompactRange.TryRead((ulong)begin, (ulong)end, bytes));
            Assert.Null(CompactRange.TryRead((ulong)begin, (ulong)end, [.. bytes, .. new byte[TreeHash.Length]]));
            if (bytes.Length > 0)
            {
                Assert.Null(CompactRange.TryRead((ulong)begin, (ulong)end, bytes.AsSpan(TreeHash.Length)));
                Assert.Null(CompactRange.TryRead((ulong)begin, (ulong)end, bytes.AsSpan(1)));
            }
        });

    [Fact]
    public void Clone_AppendedTo_LeavesTheOriginal()
    {
        var tree = RangeOf(0, 5);
        var root = tree.Root();

        tree.Clone().Append(TreeHash.EmptyLeaf);

        Assert.Equal((5UL, root), (tree.End, tree.Root()));
    }

    [Fact]
    public void Path_OfAnyLeafInAnyTree_IsTheRfcsAndProvesOnlyThatLeaf() =>
        Gen.Int[1, MaxLeaves].SelectMany(size => Gen.Select(Gen.Const(size), Gen.Int[0, size - 1])).Sample((size, index) =>
        {
            var proof = new InclusionProof(RangeOf(0, index), TreeHash.Read(Leaves[index]));
            for (var next = index + 1; next < size; next++)
            {
                proof.Append(TreeHash.Read(Leaves[next]));
            }

            var path = proof.Path();
            var root = TreeHash.Read(Rfc6962.Root(Leaves.AsSpan(0, size)));
            Assert.Equal(Rfc6962.Path(index, Leaves.AsSpan(0, size)).Select(Convert.ToHexStringLower), path.Select(hash => hash.ToString()));
            Assert.True(InclusionProof.Verify((ulong)index, (ulong)size, proof.Leaf, path, root));
            Assert.False(InclusionProof.Verify((ulong)index, (ulong)size, TreeHash.EmptyLeaf, path, root));
            Assert.False(InclusionProof.Verify((ulong)index, (ulong)size, proof.Leaf, path, TreeHash.EmptyRoot));
            Assert.False(InclusionProof.Verify((ulong)size, (ulong)size, proof.Leaf, path, root));
            if (path.Count > 0)
            {
                Assert.False(InclusionProof.Verify((ulong)index, (ulong)size, proof.Leaf, path[1..], root));
                Assert.False(InclusionProof.Verify((ulong)index, (ulong)size, proof.Leaf, [.. path, path[0]], root));
            }
        });

    [Fact]
    public void EmptyLeavesRange_AnyPlace_IsWhatAppendingThemGives() =>
        Gen.Select(Gen.Int[0, MaxLeaves], Gen.Int[0, 100]).Sample((begin, count) =>
        {
            var expected = RangeOf(0, begin);
            var tree = RangeOf(0, begin);
            for (var i = 0; i < count; i++)
            {
                expected.Append(TreeHash.EmptyLeaf);
            }

            Assert.True(tree.TryAppend(EmptyLeaves.Range((ulong)begin, (ulong)(begin + count))));
            Assert.Equal((expected.End, expected.Root()), (tree.End, tree.Root()));
        });

    [Fact]
    public void EmptyLeaf_IsTheHashOfAnEmptyRecord() =>
        Assert.Equal(Convert.ToHexStringLower(Rfc6962.Leaf([])), TreeHash.EmptyLeaf.ToString());

    private static CompactRange RangeOf(int begin, int end)
    {
        var range = new CompactRange((ulong)begin);
        for (var index = begin; index < end; index++)
        {
            range.Append(TreeHash.Read(Leaves[index]));
        }

        return range;
    }
}
