using System.Text;

namespace SafetyFilter.Scoring;

/// <summary>
/// Looks through a model file before ONNX Runtime sees it and refuses what a score needs not: data outside the file, operator
/// domains that nobody allowed, local functions, training graphs, and files of another format.
/// </summary>
/// <remarks>
/// It walks the Protocol Buffers wire format itself, with the field numbers of onnx.proto, and is stricter than a parser where
/// parsers differ: every occurrence of a field counts, not the last, and a field it examines must have its declared wire type.
/// </remarks>
internal sealed class OnnxGuard
{
    private const int MaxDepth = 64;
    private readonly HashSet<string> _extraDomains;
    private readonly SortedSet<string> _problems = new(StringComparer.Ordinal);

    private OnnxGuard(IEnumerable<string> extraDomains) => _extraDomains = [.. extraDomains];

    private delegate void Visitor(ref WireReader message, int field, string where, int depth);

    /// <summary>What is wrong with the model; empty when it may be given to ONNX Runtime.</summary>
    public static IReadOnlyCollection<string> Inspect(ReadOnlySpan<byte> model, IEnumerable<string> extraDomains)
    {
        // ONNX Runtime takes bytes with this mark for its own FlatBuffers format, which this guard does not read.
        if (model.Length >= 8 && model.Slice(4, 4).SequenceEqual("ORTM"u8))
        {
            return ["It carries the mark of the ORT format. Export it as ONNX."];
        }

        var guard = new OnnxGuard(extraDomains);
        var graphs = 0;
        try
        {
            var reader = new WireReader(model);
            while (reader.Next())
            {
                graphs += reader.Field == 7 ? 1 : 0;
                guard.Model(ref reader);
            }
        }
        catch (InvalidDataException error)
        {
            return [$"It is not an ONNX file: {error.Message} Export it again."];
        }

        if (graphs == 0)
        {
            guard._problems.Add("It holds no graph. Export it again.");
        }

        return guard._problems;
    }

    private void Model(ref WireReader reader)
    {
        switch (reader.Field)
        {
            case 7:
                Each(reader.Message(), Graph, "graph", 0);
                break;
            case 8:
                Each(reader.Message(), OperatorSet, "opset_import", 0);
                break;
            case 20:
                _problems.Add("It carries a training graph (training_info). Export it for inference.");
                break;
            case 25:
                Function(reader.Message());
                break;
        }
    }

    private void Graph(ref WireReader reader, int field, string where, int depth)
    {
        switch (field)
        {
            case 1:
                Node(reader.Message(), where, depth);
                break;
            case 5:
                Each(reader.Message(), Tensor, $"{where}, an initializer", depth);
                break;
            case 15:
                Each(reader.Message(), SparseTensor, $"{where}, a sparse initializer", depth);
                break;
        }
    }

    private void Node(ReadOnlySpan<byte> node, string where, int depth)
    {
        // The name only serves the report, so read it before walking in.
        var name = "";
        var operation = "";
        var reader = new WireReader(node);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 3:
                    name = reader.Text();
                    break;
                case 4:
                    operation = reader.Text();
                    break;
                case 7:
                    Domain(reader.Text(), $"{where}, node {operation} '{name}'");
                    break;
            }
        }

        reader = new WireReader(node);
        while (reader.Next())
        {
            if (reader.Field == 5)
            {
                Each(reader.Message(), Attribute, $"{where}, node {operation} '{name}'", depth);
            }
        }
    }

    private void Attribute(ref WireReader reader, int field, string where, int depth)
    {
        switch (field)
        {
            case 5 or 10:
                Each(reader.Message(), Tensor, $"{where}, a constant", depth);
                break;
            case 6 or 11:
                Each(reader.Message(), Graph, $"{where}, its subgraph", depth);
                break;
            case 22 or 23:
                Each(reader.Message(), SparseTensor, $"{where}, a sparse constant", depth);
                break;
        }
    }

    private void SparseTensor(ref WireReader reader, int field, string where, int depth)
    {
        if (field is 1 or 2)
        {
            Each(reader.Message(), Tensor, where, depth);
        }
    }

    private void Tensor(ref WireReader reader, int field, string where, int depth)
    {
        if (field == 13 || (field == 14 && reader.Number() != 0))
        {
            _problems.Add($"The {where} keeps its data outside the file. Save the model with its data inside.");
        }
    }

    // A function in a standard domain would replace a standard operator, so only domains that were allowed by name may hold one.
    private void Function(ReadOnlySpan<byte> function)
    {
        var domain = "";
        var name = "";
        var reader = new WireReader(function);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    name = reader.Text();
                    break;
                case 7:
                    Node(reader.Message(), "function", 0);
                    break;
                case 9:
                    Each(reader.Message(), OperatorSet, "function's opset_import", 0);
                    break;
                case 10:
                    domain = reader.Text();
                    break;
                case 11:
                    Each(reader.Message(), Attribute, "function", 0);
                    break;
            }
        }

        if (!_extraDomains.Contains(domain))
        {
            _problems.Add($"The function '{name}' is a local function of domain '{domain}'. Export with functions inlined, or allow the domain in the settings.");
        }
    }

    private void OperatorSet(ref WireReader reader, int field, string where, int depth)
    {
        if (field == 1)
        {
            Domain(reader.Text(), where);
        }
    }

    private void Domain(string domain, string where)
    {
        if (domain is not ("" or "ai.onnx" or "ai.onnx.ml") && !_extraDomains.Contains(domain))
        {
            _problems.Add($"The {where} uses operator domain '{domain}'. Export with standard operators, or allow the domain in the settings.");
        }
    }

    private static void Each(ReadOnlySpan<byte> message, Visitor visit, string where, int depth)
    {
        if (depth >= MaxDepth)
        {
            throw new InvalidDataException($"its graphs nest more than {MaxDepth} messages deep.");
        }

        var reader = new WireReader(message);
        while (reader.Next())
        {
            visit(ref reader, reader.Field, where, depth + 1);
        }
    }

    /// <summary>Reads one message's fields; throws <see cref="InvalidDataException"/> on anything malformed.</summary>
    private ref struct WireReader(ReadOnlySpan<byte> bytes)
    {
        private ReadOnlySpan<byte> _rest = bytes;
        private ReadOnlySpan<byte> _payload;
        private ulong _number;
        private int _wireType;

        public int Field { get; private set; }

        public bool Next()
        {
            if (_rest.IsEmpty)
            {
                return false;
            }

            var tag = Varint();
            if (tag >> 3 is 0 or > 0x1FFF_FFFF)
            {
                throw new InvalidDataException($"field number {tag >> 3} does not exist.");
            }

            Field = (int)(tag >> 3);
            _wireType = (int)(tag & 7);
            switch (_wireType)
            {
                case 0:
                    _number = Varint();
                    break;
                case 1:
                    _payload = Take(8);
                    break;
                case 2:
                    _payload = Take(Varint());
                    break;
                case 5:
                    _payload = Take(4);
                    break;
                default: // Groups: ONNX has none, and skipping one means trusting how others skip it.
                    throw new InvalidDataException($"field {Field} has wire type {_wireType}.");
            }

            return true;
        }

        public readonly ReadOnlySpan<byte> Message() =>
            _wireType == 2 ? _payload : throw new InvalidDataException($"field {Field} has wire type {_wireType} instead of a length.");

        public readonly ulong Number() =>
            _wireType == 0 ? _number : throw new InvalidDataException($"field {Field} has wire type {_wireType} instead of a number.");

        public readonly string Text() => Encoding.UTF8.GetString(Message());

        private ReadOnlySpan<byte> Take(ulong length)
        {
            if (length > (ulong)_rest.Length)
            {
                throw new InvalidDataException($"it ends {length - (ulong)_rest.Length} bytes too early.");
            }

            var taken = _rest[..(int)length];
            _rest = _rest[(int)length..];
            return taken;
        }

        private ulong Varint()
        {
            ulong value = 0;
            for (var shift = 0; shift < 64; shift += 7)
            {
                var next = Take(1)[0];
                value |= (ulong)(next & 0x7F) << shift;
                if (next < 0x80)
                {
                    return value;
                }
            }

            throw new InvalidDataException("a number runs over ten bytes.");
        }
    }
}
