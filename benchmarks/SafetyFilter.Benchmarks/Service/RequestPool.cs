using System.Globalization;
using System.Numerics.Tensors;
using Google.Protobuf;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>
/// Some hundred different requests of a workload, serialised beforehand. Those of a round depend on workload, round and seed alone, so that
/// every server of the round gets the same bytes in the same order, and the next round gets others.
/// </summary>
internal sealed class RequestPool
{
    private const int Fewest = 256;
    private const int Most = 1024;
    private const int Bytes = 64 << 20;

    private readonly ItemSet _items;
    private readonly Workload _workload;
    private readonly ulong _seed;
    private readonly Zipf? _popularity;
    private readonly FilterQuery _query = new();
    private readonly HashSet<int> _page = [];

    public RequestPool(ItemSet items, Workload workload, ulong seed)
    {
        _items = items;
        _workload = workload;
        _seed = seed;
        _popularity = workload.Repeats ? new Zipf(ItemSet.Count, 1.0) : null;
        Turn(0);
    }

    public Workload Workload => _workload;

    public byte[][] Requests { get; private set; } = [];

    /// <summary>Composes the requests of a round.</summary>
    public void Turn(int round)
    {
        var first = Compose(round, 0);
        var requests = new byte[Math.Clamp(Bytes / first.Length, Fewest, Most)][];
        requests[0] = first;
        for (var number = 1; number < requests.Length; number++)
        {
            requests[number] = Compose(round, number);
        }

        Requests = requests;
    }

    /// <summary>Request <paramref name="number"/> of a round.</summary>
    public byte[] Compose(int round, int number)
    {
        var random = SplitMix64.For(_seed, ((ulong)round << 32) + (ulong)number);
        Span<float> embedding = stackalloc float[ItemSet.EmbeddingLength];
        Span<Half> half = stackalloc Half[ItemSet.EmbeddingLength];
        _query.Clear();
        _page.Clear();
        _query.Surface = _workload.Surface;
        _query.RequestId = string.Create(CultureInfo.InvariantCulture, $"{_workload.Name}-{round}-{number}");
        _query.IdempotencyKey = random.Next().ToString("x16", CultureInfo.InvariantCulture) + random.Next().ToString("x16", CultureInfo.InvariantCulture);
        while (_query.Count < _workload.Candidates)
        {
            var item = _popularity?.Sample(ref random) ?? random.Next(ItemSet.Count);

            // A page shows no item twice, however popular.
            if (!_page.Add(item))
            {
                continue;
            }

            var row = _query.AddCandidate(ItemSet.Id(item), _workload.Repeats ? ItemSet.Version(item, round) : "");
            if (_workload.HasEmbedding)
            {
                _items.Embed(item, embedding);
                if (_workload.Features.HasFlag(Features.HalfEmbedding))
                {
                    TensorPrimitives.ConvertToHalf(embedding, half);
                    row.Tensor("embedding", half);
                }
                else
                {
                    row.Tensor("embedding", embedding);
                }
            }

            if (_workload.HasCaption)
            {
                row.Text("text", _items.Caption(item));
            }
        }

        return _query.Seal().ToByteArray();
    }
}
