using CsCheck;
using Google.Protobuf;
using SafetyFilter.V1;

namespace SafetyFilter.Tests.Sidecar;

/// <summary>Random requests that obey filter.proto, as the generated classes, so that our reader can be held against theirs.</summary>
internal static class RequestGen
{
    private static readonly Gen<string> Name = Gen.String[Gen.Char["abcdefghijklmnopqrstuvwxyz_"], 1, 12];

    private static readonly Gen<string> Text = Gen.OneOf(
        Gen.String[Gen.Char.AlphaNumeric, 0, 40],
        Gen.OneOf("", "Grüße aus Köln", "日本語のタイトル", "emoji 👩‍👩‍👧 and z\u200Bero width", "\0"));

    public static Gen<FilterRequest> Valid { get; } = Gen.Int[1, 70].SelectMany(count =>
        from id in Text.Where(text => text.Length > 0)
        from surface in Name
        from viewer in Gen.Bool
        from ids in Text.Where(text => text.Length > 0).Array[count]
        from versions in Optional(Text, count)
        from languages in Optional(Gen.OneOf("en", "de-AT", ""), count)
        from texts in Columns(Text.Array[count], 0, 3)
        from tensors in Tensors(count)
        from strings in Columns(Text.Array[count], 0, 2)
        from numbers in Columns(Gen.Double.Array[count], 0, 2)
        from flags in Columns(Gen.Bool.Array[count], 0, 2)
        from missing in Gen.Int[0, count - 1].Array[0, 3]
        from scores in Gen.Bool
        select Build(id, surface, viewer, ids, versions, languages, texts, tensors, strings, numbers, flags, missing, scores));

    private static FilterRequest Build(
        string id, string surface, bool viewer, string[] ids, string[] versions, string[] languages,
        List<(string Name, string[] Values)> texts, List<FeatureTensor> tensors, List<(string Name, string[] Values)> strings,
        List<(string Name, double[] Values)> numbers, List<(string Name, bool[] Values)> flags, int[] missing, bool scores)
    {
        var request = new FilterRequest { RequestId = id, Surface = surface, Purpose = "recommendation", ReturnScores = scores };
        if (viewer)
        {
            request.Viewer = new ViewerContext { Territory = "DE", AgeBand = "adult", Experiment = "arm-b", Subject = id.Length % 2 == 0 ? "subject" : "" };
        }

        request.CandidateIds.AddRange(ids);
        request.ContentVersions.AddRange(versions);
        request.Languages.AddRange(languages);
        foreach (var (name, values) in texts)
        {
            var column = new TextColumn { Name = name, Values = { values } };
            column.Missing.AddRange(missing.Select(static index => (uint)index));
            request.Texts.Add(column);
        }

        request.Tensors.AddRange(tensors);
        request.Attributes.AddRange(strings.Select(static column => new AttributeColumn { Name = "s" + column.Name, Strings = { column.Values } }));
        request.Attributes.AddRange(numbers.Select(static column => new AttributeColumn { Name = "n" + column.Name, Numbers = { column.Values } }));
        request.Attributes.AddRange(flags.Select(static column => new AttributeColumn { Name = "f" + column.Name, Flags = { column.Values } }));
        return request;
    }

    private static Gen<string[]> Optional(Gen<string> element, int count) =>
        Gen.Bool.SelectMany(present => present ? element.Array[count] : Gen.Const(Array.Empty<string>()));

    private static Gen<List<(string Name, T[] Values)>> Columns<T>(Gen<T[]> values, int fewest, int most) =>
        Gen.Select(Name, values).List[fewest, most].Select(static columns => columns.DistinctBy(static column => column.Item1).ToList());

    private static Gen<List<FeatureTensor>> Tensors(int count) =>
        Gen.Select(Name, Gen.Bool, Gen.Int[1, 9], Gen.Int[0, 100_000]).List[0, 3].Select(columns => columns
            .DistinctBy(static column => column.Item1)
            .Select(column => Tensor(column.Item1, column.Item2, count, column.Item3, column.Item4))
            .ToList());

    private static FeatureTensor Tensor(string name, bool half, int rows, int width, int seed)
    {
        var random = new Random(seed);
        var data = new byte[rows * width * (half ? 2 : 4)];
        for (var i = 0; i < rows * width; i++)
        {
            var value = random.NextSingle() * 4 - 2;
            if (half)
            {
                BitConverter.TryWriteBytes(data.AsSpan(i * 2), (Half)value);
            }
            else
            {
                BitConverter.TryWriteBytes(data.AsSpan(i * 4), value);
            }
        }

        return new FeatureTensor
        {
            Name = name,
            Dtype = half ? V1.DataType.Float16 : V1.DataType.Float32,
            Shape = { rows, width },
            Data = ByteString.CopyFrom(data),
        };
    }
}
