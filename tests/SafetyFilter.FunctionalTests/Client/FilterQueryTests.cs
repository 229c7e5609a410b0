using System.Runtime.InteropServices;
using SafetyFilter.Client;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Client;

public sealed class FilterQueryTests
{
    [Fact]
    public void AddCandidate_Rows_BecomeColumnsInTheirOrder()
    {
        var query = new FilterQuery { Surface = "for-you", Territory = "DE", AgeBand = "adult", Experiment = "b", Subject = "s-1", Purpose = "recommendation", RequestId = "r" };
        query.AddCandidate("a", "v1", "de").Text("text", "eins").Tensor("embedding", [1f, 2f]).Attribute("tier", "new").Attribute("reports", 3).Attribute("live", true);
        query.AddCandidate("a", "v2", "en").Text("text", "two").Tensor("embedding", [3f, -4f]).Attribute("tier", "old").Attribute("reports", 0).Attribute("live", false);

        var message = query.Seal();

        Assert.Equal("r", message.RequestId);
        Assert.Equal(new ViewerContext { Territory = "DE", AgeBand = "adult", Experiment = "b", Subject = "s-1" }, message.Viewer);
        Assert.Equal(["a", "a"], message.CandidateIds);
        Assert.Equal(["v1", "v2"], message.ContentVersions);
        Assert.Equal(["de", "en"], message.Languages);
        Assert.Equal(["eins", "two"], Assert.Single(message.Texts).Values);
        var tensor = Assert.Single(message.Tensors);
        Assert.Equal(DataType.Float32, tensor.Dtype);
        Assert.Equal([2L, 2L], tensor.Shape);
        Assert.Equal([1f, 2f, 3f, -4f], MemoryMarshal.Cast<byte, float>(tensor.Data.Span).ToArray());
        Assert.Equal(["tier", "reports", "live"], message.Attributes.Select(attribute => attribute.Name));
        Assert.Equal([3.0, 0.0], message.Attributes[1].Numbers);
    }

    [Fact]
    public void Seal_RowsWithoutAFeature_AreMarkedMissingAndColumnsStayAsLongAsTheIds()
    {
        var query = new FilterQuery();
        query.AddCandidate("0");
        query.AddCandidate("1", contentVersion: "v1").Text("text", "one").Tensor("embedding", [1f]).Attribute("tier", "new").Attribute("reports", 1);
        query.AddCandidate("2").Attribute("live", true);

        var message = query.Seal();

        Assert.Equal(["", "v1", ""], message.ContentVersions);
        Assert.Empty(message.Languages);
        Assert.Equal(["", "one", ""], message.Texts[0].Values);
        Assert.Equal([0u, 2u], message.Texts[0].Missing);
        Assert.Equal([3L, 1L], message.Tensors[0].Shape);
        Assert.Equal([0f, 1f, 0f], MemoryMarshal.Cast<byte, float>(message.Tensors[0].Data.Span).ToArray());
        Assert.Equal([0u, 2u], message.Tensors[0].Missing);
        Assert.Equal(["", "new", ""], Column(message, "tier").Strings);
        Assert.Equal([double.NaN, 1, double.NaN], Column(message, "reports").Numbers);
        Assert.Equal([false, false, true], Column(message, "live").Flags);

        static AttributeColumn Column(FilterRequest message, string name) => message.Attributes.Single(attribute => attribute.Name == name);
    }

    [Fact]
    public void Clear_ThenOtherRows_LeavesNothingOfTheOldPage()
    {
        var query = new FilterQuery { Surface = "search", RequestId = "old", Deadline = TimeSpan.FromSeconds(1) };
        query.AddCandidate("a", "v1", "de").Text("text", "eins").Text("description", "x").Tensor("embedding", [1f, 2f]).Attribute("tier", "new");
        query.AddCandidate("b");
        query.Seal();

        query.Clear();
        query.RequestId = "new";
        query.AddCandidate("c").Text("text", "drei").Tensor("embedding", [9f]);

        var expected = new FilterQuery { Surface = "search", RequestId = "new" };
        expected.AddCandidate("c").Text("text", "drei").Tensor("embedding", [9f]);
        Assert.Equal(expected.Seal(), query.Seal());
        Assert.Null(query.Deadline);
    }

    [Fact]
    public void Seal_RepeatedAndRowsAddedSince_KeepsTheColumnsStraight()
    {
        var query = new FilterQuery { RequestId = "r" };
        query.AddCandidate("a", language: "de").Text("text", "eins");
        query.Seal();
        query.AddCandidate("b", "v2").Tensor("embedding", [1f]);

        var message = query.Seal();

        Assert.Equal(["de", ""], message.Languages);
        Assert.Equal(["", "v2"], message.ContentVersions);
        Assert.Equal([1u], message.Texts[0].Missing);
        Assert.Equal([0u], message.Tensors[0].Missing);
    }

    [Fact]
    public void Seal_NoRequestId_GivesEachCallItsOwn()
    {
        var query = new FilterQuery();
        var first = query.Seal().RequestId;

        Assert.NotEmpty(first);
        Assert.NotEqual(first, query.Seal().RequestId);
    }

    [Fact]
    public void Tensor_Float16_HalvesTheBytes()
    {
        var query = new FilterQuery();
        query.AddCandidate("a").Tensor("embedding", [(Half)0.5, (Half)(-2)]);

        var tensor = query.Seal().Tensors[0];

        Assert.Equal(DataType.Float16, tensor.Dtype);
        Assert.Equal([0x00, 0x38, 0x00, 0xC0], tensor.Data.ToByteArray());
    }

    [Fact]
    public void Tensor_AnotherLengthThanBefore_IsRefusedByName()
    {
        var query = new FilterQuery();
        query.AddCandidate("a").Tensor("embedding", [1f, 2f]);

        var error = Assert.Throws<ArgumentException>(() => query.AddCandidate("b").Tensor("embedding", [1f]));

        Assert.Contains("'embedding' has 1 numbers of Float32 in row 1, and 2", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Attribute_AnotherKindThanBefore_IsRefusedByName()
    {
        var query = new FilterQuery();
        query.AddCandidate("a").Attribute("tier", "new");

        Assert.Contains("'tier'", Assert.Throws<ArgumentException>(() => query.AddCandidate("b").Attribute("tier", 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Row_AfterTheNextWasAdded_IsClosed()
    {
        var query = new FilterQuery();

        Assert.Throws<InvalidOperationException>(() =>
        {
            var first = query.AddCandidate("a");
            query.AddCandidate("b");
            first.Text("text", "too late");
        });
    }

    [Fact]
    public void AddCandidate_SecondPage_AllocatesNothingPerCandidate()
    {
        var query = new FilterQuery { RequestId = "r" };
        var embedding = new float[128];
        long used = 0;
        for (var page = 0; page < 3; page++)
        {
            query.Clear();
            query.RequestId = "r";
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < 256; i++)
            {
                query.AddCandidate("id", "v1", "en").Text("text", "title").Tensor("embedding", embedding).Attribute("tier", "new").Attribute("reports", i);
            }

            query.Seal();
            used = GC.GetAllocatedBytesForCurrentThread() - before;
        }

        // The byte string that points at the tensor, and the like: per page, and less than a byte per candidate.
        Assert.InRange(used, 0, 255);
    }

    [Theory]
    [InlineData(typeof(FilterAction), typeof(V1.Action))]
    [InlineData(typeof(VerdictBasis), typeof(Basis))]
    [InlineData(typeof(SafetyFilter.Client.FailureKind), typeof(V1.FailureKind))]
    [InlineData(typeof(SafetyFilter.Client.FailMode), typeof(V1.FailMode))]
    [InlineData(typeof(SafetyFilter.Client.Severity), typeof(V1.Severity))]
    [InlineData(typeof(SafetyFilter.Client.Durability), typeof(V1.Durability))]
    public void Vocabulary_EveryWireValue_HasItsNameHere(Type here, Type wire)
    {
        foreach (var value in Enum.GetValues(wire))
        {
            var number = Convert.ToInt32(value, System.Globalization.CultureInfo.InvariantCulture);
            if (number != 0)
            {
                Assert.Equal(value.ToString(), Enum.GetName(here, number));
            }
        }
    }
}
