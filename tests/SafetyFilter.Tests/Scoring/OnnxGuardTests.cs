using CsCheck;
using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Scoring;

public sealed class OnnxGuardTests
{
    private static readonly byte[] Sound = Onnx.Linear([1, -1], 2, 1);

    [Fact]
    public void Inspect_SoundModel_FindsNothing() => Assert.Empty(OnnxGuard.Inspect(Sound, []));

    [Fact]
    public void Inspect_ExternalInitializer_Refuses() =>
        AssertRefuses(WithInitializers(Onnx.ExternalTensor("w")), "an initializer keeps its data outside the file");

    [Fact]
    public void Inspect_ExternalDataWithoutLocation_Refuses() =>
        AssertRefuses(WithInitializers(new Proto().Text(8, "w").Message(13, new Proto().Text(1, "location").Text(2, "/etc/passwd"))), "outside the file");

    [Fact]
    public void Inspect_LocationOverwrittenAsInternal_RefusesStill() =>
        AssertRefuses(WithInitializers(new Proto().Text(8, "w").Number(14, 1).Number(14, 0)), "outside the file");

    [Theory]
    [InlineData("If")]
    [InlineData("Loop")]
    [InlineData("Scan")]
    public void Inspect_ExternalConstantInSubgraph_Refuses(string operation)
    {
        var body = Onnx.Graph([Constant(Onnx.ExternalTensor("c"))], [], []);
        AssertRefuses(
            WithNodes(Onnx.Node(operation, ["x"], ["y"], Onnx.GraphAttribute("body", body))),
            $"node {operation} 'the-{operation}', its subgraph, node Constant 'the-Constant', a constant keeps its data outside the file");
    }

    [Fact]
    public void Inspect_ExternalInitializerTwoSubgraphsDeep_Refuses()
    {
        var inner = new Proto().Message(5, Onnx.ExternalTensor("w"));
        var outer = Onnx.Graph([Onnx.Node("Loop", [], [], Onnx.GraphAttribute("body", inner))], [], []);
        AssertRefuses(WithNodes(Onnx.Node("If", [], [], Onnx.GraphAttribute("then_branch", outer))), "its subgraph, an initializer keeps");
    }

    [Fact]
    public void Inspect_ExternalTensorInListOfTensors_Refuses() =>
        AssertRefuses(WithNodes(Onnx.Node("Constant", [], ["c"], new Proto().Text(1, "many").Message(10, Onnx.ExternalTensor("c")))), "outside the file");

    [Fact]
    public void Inspect_ExternalTensorInListOfGraphs_Refuses() =>
        AssertRefuses(
            WithNodes(Onnx.Node("If", [], ["c"], new Proto().Text(1, "many").Message(11, new Proto().Message(5, Onnx.ExternalTensor("c"))))),
            "outside the file");

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Inspect_ExternalSparseInitializer_Refuses(bool values)
    {
        var good = Onnx.Tensor("v", [1f], 1);
        var bad = Onnx.ExternalTensor("v");
        var graph = new Proto().Message(15, Onnx.SparseTensor(values ? bad : good, values ? good : bad, 4));
        AssertRefuses(Onnx.Model(graph).Bytes, "a sparse initializer keeps its data outside the file");
    }

    [Fact]
    public void Inspect_ExternalSparseConstant_Refuses() =>
        AssertRefuses(
            WithNodes(Onnx.Node("Constant", [], ["c"], Onnx.SparseAttribute("sparse_value", Onnx.SparseTensor(Onnx.ExternalTensor("v"), Onnx.Tensor("i", [0L], 1), 4)))),
            "a sparse constant keeps its data outside the file");

    [Fact]
    public void Inspect_ExternalConstantInFunction_Refuses()
    {
        var function = new Proto().Text(1, "Helper").Text(10, "trusted").Message(7, Constant(Onnx.ExternalTensor("c")));
        AssertRefuses(Sound.Concat(new Proto().Message(25, function).Bytes).ToArray(), "outside the file", "trusted");
    }

    [Fact]
    public void Inspect_CustomDomain_RefusesUnlessAllowed()
    {
        var model = WithNodes(Onnx.Node("Steal", ["x"], ["y"]).Text(7, "evil.ops"));
        AssertRefuses(model, "node Steal 'the-Steal' uses operator domain 'evil.ops'");
        Assert.Empty(OnnxGuard.Inspect(model, ["evil.ops"]));
    }

    [Fact]
    public void Inspect_ImportOfCustomDomain_Refuses() =>
        AssertRefuses(Sound.Concat(new Proto().Message(8, Onnx.OperatorSet("com.microsoft", 1)).Bytes).ToArray(), "opset_import uses operator domain 'com.microsoft'");

    [Fact]
    public void Inspect_StandardDomains_Pass() =>
        Assert.Empty(OnnxGuard.Inspect(WithNodes(Onnx.Node("Relu", ["x"], ["y"]).Text(7, "ai.onnx"), Onnx.Node("Scaler", ["x"], ["y"]).Text(7, "ai.onnx.ml")), []));

    [Theory]
    [InlineData("")]
    [InlineData("ai.onnx")]
    [InlineData("own.functions")]
    public void Inspect_LocalFunction_RefusesUnlessItsDomainIsConfigured(string domain)
    {
        var function = new Proto().Text(1, "Relu").Message(7, Onnx.Node("Exp", ["x"], ["y"]));
        function = domain.Length > 0 ? function.Text(10, domain) : function;
        var model = Sound.Concat(new Proto().Message(25, function).Bytes).ToArray();
        AssertRefuses(model, "is a local function");
        Assert.Empty(OnnxGuard.Inspect(model, [domain]));
    }

    [Fact]
    public void Inspect_TrainingGraph_Refuses() =>
        AssertRefuses(Sound.Concat(new Proto().Message(20, new Proto()).Bytes).ToArray(), "training graph");

    [Fact]
    public void Inspect_SeveralFaults_NamesThemAll()
    {
        var graph = Onnx.Graph([Onnx.Node("Steal", [], []).Text(7, "evil.ops")], [], [], Onnx.ExternalTensor("w"));
        Assert.Equal(2, OnnxGuard.Inspect(Onnx.Model(graph).Bytes, []).Count);
    }

    [Fact]
    public void Inspect_SecondGraph_IsLookedThroughToo() =>
        AssertRefuses(Sound.Concat(new Proto().Message(7, new Proto().Message(5, Onnx.ExternalTensor("w"))).Bytes).ToArray(), "outside the file");

    [Fact]
    public void Inspect_OrtFormatMark_Refuses()
    {
        // A well-formed message whose producer_name puts the mark at byte 4, where ONNX Runtime looks for it.
        var model = new Proto().Text(2, "ABORTM..").Bytes.Concat(Sound).ToArray();
        Assert.Equal("ORTM"u8, model.AsSpan(4, 4));
        AssertRefuses(model, "ORT format");
    }

    [Theory]
    [InlineData(new byte[0])]
    [InlineData(new byte[] { 0x0B, 0x0C })] // a group
    [InlineData(new byte[] { 0x00, 0x00 })] // field number 0
    [InlineData(new byte[] { 0x3A, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F })] // longer than the file
    [InlineData(new byte[] { 0x3A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01 })] // an endless number
    [InlineData(new byte[] { 0x38, 0x01 })] // a graph that is a number
    public void Inspect_Garbage_Refuses(byte[] bytes) => Assert.NotEmpty(OnnxGuard.Inspect(bytes, []));

    [Fact]
    public void Inspect_NestedWithoutEnd_Refuses()
    {
        var graph = new Proto();
        for (var i = 0; i < 200; i++)
        {
            graph = Onnx.Graph([Onnx.Node("If", [], [], Onnx.GraphAttribute("g", graph))], [], []);
        }

        AssertRefuses(Onnx.Model(graph).Bytes, "deep");
    }

    [Fact]
    public void Inspect_AnyBytesAndAnyTruncation_NeverThrows()
    {
        Gen.Byte.Array[0, 200].Sample(bytes => OnnxGuard.Inspect(bytes, []) is not null, iter: 5000, threads: 1);
        for (var length = 0; length < Sound.Length; length++)
        {
            Assert.NotNull(OnnxGuard.Inspect(Sound.AsSpan(0, length), []));
        }
    }

    private static Proto Constant(Proto tensor) => Onnx.Node("Constant", [], ["c"], Onnx.TensorAttribute("value", tensor));

    private static byte[] WithNodes(params Proto[] nodes) => Onnx.Model(Onnx.Graph(nodes, [], [])).Bytes;

    private static byte[] WithInitializers(params Proto[] tensors) => Onnx.Model(Onnx.Graph([], [], [], tensors)).Bytes;

    private static void AssertRefuses(byte[] model, string because, params string[] allowed) =>
        Assert.Contains(OnnxGuard.Inspect(model, allowed), problem => problem.Contains(because, StringComparison.Ordinal));
}
