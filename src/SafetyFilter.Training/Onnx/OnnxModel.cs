namespace SafetyFilter.Training.Onnx;

/// <summary>
/// Writes the subset of ONNX (onnx.proto3, IR version 8, opset 17) that our models use: one graph of standard operators with
/// its weights inside. Field numbers are those of onnx.proto3.
/// </summary>
internal sealed class OnnxModel(string name)
{
    private const int Float = 1, Int8 = 3, Int32 = 6, Int64 = 7;

    private readonly ProtoWriter _graph = new();
    private readonly List<ProtoWriter> _initializers = [];
    private readonly List<ProtoWriter> _inputs = [];
    private readonly List<ProtoWriter> _outputs = [];

    public string FloatInput(string input, params object[] shape) => Value(_inputs, input, Float, shape);

    public string Int32Input(string input, params object[] shape) => Value(_inputs, input, Int32, shape);

    public string FloatOutput(string output, params object[] shape) => Value(_outputs, output, Float, shape);

    public string Constant(string constant, ReadOnlySpan<float> values, params long[] shape) => Tensor(constant, Float, values, shape);

    public string Constant(string constant, ReadOnlySpan<sbyte> values, params long[] shape) => Tensor(constant, Int8, values, shape);

    public string Constant(string constant, ReadOnlySpan<long> values, params long[] shape) => Tensor(constant, Int64, values, shape);

    /// <summary>Adds an operator with integer attributes; its output has the given name.</summary>
    public string Node(string operation, string output, string[] inputs, params (string Name, long Value)[] attributes)
    {
        var node = new ProtoWriter();
        foreach (string input in inputs)
        {
            node.Text(1, input);
        }

        node.Text(2, output).Text(3, output).Text(4, operation);
        foreach (var (attribute, value) in attributes)
        {
            node.Message(5, new ProtoWriter().Text(1, attribute).Int(3, value).Int(20, 2));
        }

        _graph.Message(1, node);
        return output;
    }

    public byte[] ToArray()
    {
        _graph.Text(2, name);
        foreach (var initializer in _initializers)
        {
            _graph.Message(5, initializer);
        }

        foreach (var input in _inputs)
        {
            _graph.Message(11, input);
        }

        foreach (var output in _outputs)
        {
            _graph.Message(12, output);
        }

        return new ProtoWriter().Int(1, 8).Text(2, "SafetyFilter.Training").Message(7, _graph)
            .Message(8, new ProtoWriter().Text(1, "").Int(2, 17)).ToArray();
    }

    // A dimension is a number or, where it varies, a name.
    private static string Value(List<ProtoWriter> values, string value, int type, object[] shape)
    {
        var dimensions = new ProtoWriter();
        foreach (object dimension in shape)
        {
            dimensions.Message(1, dimension is string symbol ? new ProtoWriter().Text(2, symbol) : new ProtoWriter().Int(1, (int)dimension));
        }

        var tensor = new ProtoWriter().Int(1, type).Message(2, dimensions);
        values.Add(new ProtoWriter().Text(1, value).Message(2, new ProtoWriter().Message(1, tensor)));
        return value;
    }

    private string Tensor<T>(string constant, int type, ReadOnlySpan<T> values, long[] shape)
        where T : unmanaged
    {
        var tensor = new ProtoWriter();
        foreach (long dimension in shape)
        {
            tensor.Int(1, dimension);
        }

        _initializers.Add(tensor.Int(2, type).Text(8, constant).Raw(9, values));
        return constant;
    }
}
