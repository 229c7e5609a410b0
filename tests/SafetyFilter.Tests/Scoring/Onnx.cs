using System.Runtime.InteropServices;
using System.Text;

namespace SafetyFilter.Tests.Scoring;

/// <summary>A Protocol Buffers message under construction, well-formed or not.</summary>
internal sealed class Proto
{
    private readonly MemoryStream _bytes = new();

    public byte[] Bytes => _bytes.ToArray();

    public Proto Number(int field, long value)
    {
        Varint((ulong)field << 3);
        Varint((ulong)value);
        return this;
    }

    public Proto Raw(int field, ReadOnlySpan<byte> payload)
    {
        Varint((ulong)field << 3 | 2);
        Varint((ulong)payload.Length);
        _bytes.Write(payload);
        return this;
    }

    public Proto Text(int field, string text) => Raw(field, Encoding.UTF8.GetBytes(text));

    public Proto Message(int field, Proto message) => Raw(field, message.Bytes);

    public Proto Messages(int field, params IEnumerable<Proto> messages)
    {
        foreach (var message in messages)
        {
            Message(field, message);
        }

        return this;
    }

    private void Varint(ulong value)
    {
        for (; value >= 0x80; value >>= 7)
        {
            _bytes.WriteByte((byte)(value | 0x80));
        }

        _bytes.WriteByte((byte)value);
    }
}

/// <summary>ONNX models written by the field numbers of onnx.proto; as few of them as the tests need.</summary>
internal static class Onnx
{
    public const int Float = 1;
    public const int Int32 = 6;
    public const int Int64 = 7;
    public const int Bool = 9;

    public static Proto Tensor(string name, float[] data, params long[] shape) =>
        TensorHead(name, Float, shape).Raw(9, MemoryMarshal.AsBytes<float>(data));

    public static Proto Tensor(string name, long[] data, params long[] shape) =>
        TensorHead(name, Int64, shape).Raw(9, MemoryMarshal.AsBytes<long>(data));

    /// <summary>A float tensor whose data are said to lie in another file.</summary>
    public static Proto ExternalTensor(string name) => TensorHead(name, Float, 1)
        .Message(13, new Proto().Text(1, "location").Text(2, "../../../etc/passwd"))
        .Number(14, 1);

    public static Proto SparseTensor(Proto values, Proto indices, long length) =>
        new Proto().Message(1, values).Message(2, indices).Number(3, length);

    public static Proto Node(string operation, string[] inputs, string[] outputs, params Proto[] attributes)
    {
        var node = new Proto();
        foreach (var input in inputs)
        {
            node.Text(1, input);
        }

        foreach (var output in outputs)
        {
            node.Text(2, output);
        }

        return node.Text(3, $"the-{operation}").Text(4, operation).Messages(5, attributes);
    }

    public static Proto Attribute(string name, long value) => new Proto().Text(1, name).Number(3, value).Number(20, 2);

    public static Proto TensorAttribute(string name, Proto tensor) => new Proto().Text(1, name).Message(5, tensor).Number(20, 4);

    public static Proto GraphAttribute(string name, Proto graph) => new Proto().Text(1, name).Message(6, graph).Number(20, 5);

    public static Proto SparseAttribute(string name, Proto sparse) => new Proto().Text(1, name).Message(22, sparse).Number(20, 11);

    /// <summary>An input or output; a dimension of -1 is open.</summary>
    public static Proto Value(string name, int type, params long[] shape)
    {
        var dimensions = new Proto();
        for (var i = 0; i < shape.Length; i++)
        {
            dimensions.Message(1, shape[i] < 0 ? new Proto().Text(2, $"{name}_{i}") : new Proto().Number(1, shape[i]));
        }

        return new Proto().Text(1, name).Message(2, new Proto().Message(1, new Proto().Number(1, type).Message(2, dimensions)));
    }

    public static Proto Graph(Proto[] nodes, Proto[] inputs, Proto[] outputs, params Proto[] initializers) =>
        new Proto().Messages(1, nodes).Text(2, "g").Messages(5, initializers).Messages(11, inputs).Messages(12, outputs);

    public static Proto Model(Proto graph) => new Proto().Number(1, 8).Message(7, graph).Message(8, OperatorSet("", 17));

    public static Proto OperatorSet(string domain, long version) => new Proto().Text(1, domain).Number(2, version);

    /// <summary>sigmoid(embedding x weights): [N, width] to [N, labels].</summary>
    public static byte[] Linear(float[] weights, int width, int labels, string output = "scores", long declaredLabels = 0) => Model(Graph(
        [Node("MatMul", ["embedding", "w"], ["logits"]), Node("Sigmoid", ["logits"], [output])],
        [Value("embedding", Float, -1, width)],
        [Value(output, Float, -1, declaredLabels == 0 ? labels : declaredLabels)],
        Tensor("w", weights, width, labels))).Bytes;

    /// <summary>One node from embedding [N, width] to scores, its output declared [N, 1].</summary>
    public static byte[] Single(string operation, int width = 1) => Model(Graph(
        [Node(operation, ["embedding"], ["scores"])], [Value("embedding", Float, -1, width)], [Value("scores", Float, -1, 1)])).Bytes;

    /// <summary>The sigmoid of embedding [N, 1], again and again: as often as its largest number says.</summary>
    public static byte[] Rounds() => Model(Graph(
        [
            Node("ReduceMax", ["embedding"], ["most"], Attribute("keepdims", 0)),
            Node("Cast", ["most"], ["rounds"], Attribute("to", Int64)),
            Node("Sigmoid", ["embedding"], ["first"]),
            Node("Loop", ["rounds", "", "first"], ["scores"], GraphAttribute("body", Graph(
                [Node("Identity", ["go_on"], ["goes_on"]), Node("Sigmoid", ["score"], ["next"])],
                [Value("round", Int64), Value("go_on", Bool), Value("score", Float, -1, 1)],
                [Value("goes_on", Bool), Value("next", Float, -1, 1)]))),
        ],
        [Value("embedding", Float, -1, 1)],
        [Value("scores", Float, -1, 1)])).Bytes;

    /// <summary>sigmoid(sum of the indices' weight rows x scale): what text bundles look like.</summary>
    public static byte[] Text(float[] weights, int buckets, int labels) => Model(Graph(
        [
            Node("Gather", ["w", "indices"], ["rows"]),
            Node("ReduceSum", ["rows", "axis"], ["sums"], Attribute("keepdims", 0)),
            Node("Mul", ["sums", "scale"], ["logits"]),
            Node("Sigmoid", ["logits"], ["scores"]),
        ],
        [Value("indices", Int32, -1, -1), Value("scale", Float, -1, 1)],
        [Value("scores", Float, -1, labels)],
        Tensor("w", weights, buckets, labels),
        Tensor("axis", [1L], 1))).Bytes;

    private static Proto TensorHead(string name, int type, params long[] shape)
    {
        var tensor = new Proto();
        foreach (var length in shape)
        {
            tensor.Number(1, length);
        }

        return tensor.Number(2, type).Text(8, name);
    }
}
