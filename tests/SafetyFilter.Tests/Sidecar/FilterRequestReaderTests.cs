using CsCheck;
using Google.Protobuf;
using SafetyFilter.Decisions;
using SafetyFilter.Sidecar.Grpc;
using SafetyFilter.V1;

namespace SafetyFilter.Tests.Sidecar;

public sealed class FilterRequestReaderTests
{
    private static readonly RequestLimits Limits = new();

    [Fact]
    public void Read_AnyValidRequest_HoldsWhatTheGeneratedParserHolds() => RequestGen.Valid.Sample(static request =>
    {
        var batch = new CandidateBatch();
        Assert.Null(Read(batch, request.ToByteArray()));
        Same(request, batch);
    });

    [Fact]
    public void Read_BatchUsedBefore_HoldsNothingOfTheOtherRequest()
    {
        var batch = new CandidateBatch();
        Gen.Select(RequestGen.Valid, RequestGen.Valid).Sample(
            pair =>
            {
                Assert.Null(Read(batch, pair.Item1.ToByteArray()));
                Assert.Null(Read(batch, pair.Item2.ToByteArray()));
                Same(pair.Item2, batch);
            },
            threads: 1);
    }

    [Fact]
    public void Read_BytesChangedAtRandom_NeverThrows() =>
        Gen.Select(RequestGen.Valid, Gen.Int[0, 1 << 20], Gen.Byte, Gen.Int[0, 3]).Sample(static (request, at, value, kind) =>
        {
            var bytes = request.ToByteArray();
            at %= bytes.Length;
            bytes = kind switch
            {
                0 => bytes[..at],
                1 => [.. bytes[..at], value, .. bytes[at..]],
                2 => [.. bytes[..at], .. bytes[(at + 1)..]],
                _ => bytes,
            };
            if (kind == 3)
            {
                bytes[at] = value;
            }

            Read(new CandidateBatch(), bytes);
        });

    [Fact]
    public void Read_AnyBytes_NeverThrows() => Gen.Byte.Array[0, 300].Sample(static bytes => { Read(new CandidateBatch(), bytes); });

    [Fact]
    public void Read_UnknownFields_PassesOverThem()
    {
        var request = Minimal();
        byte[] unknown = [0xA0, 0x06, 0x01, 0xA9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0xAA, 0x06, 2, 9, 9, 0xAD, 0x06, 1, 2, 3, 4];
        var batch = new CandidateBatch();
        Assert.Null(Read(batch, [.. unknown, .. request.ToByteArray(), .. unknown]));
        Assert.Equal(1, batch.Count);
    }

    [Fact]
    public void Read_UnpackedNumbers_ReadsThemAsPackedOnes()
    {
        // attributes { name: "n" numbers: 1.5 } with the number as a single fixed64 instead of a packed field.
        byte[] attribute = [0x0A, 1, (byte)'n', 0x19, .. BitConverter.GetBytes(1.5)];
        var batch = new CandidateBatch();
        Assert.Null(Read(batch, [.. Minimal().ToByteArray(), 0x52, (byte)attribute.Length, .. attribute]));
        Assert.Equal([1.5], batch.Attributes[0].Numbers);
    }

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void Read_Mistake_NamesFieldValueAndRemedy(string expected, object mutation)
    {
        var request = Minimal();
        ((Action<FilterRequest>)mutation)(request);
        var refusal = Read(new CandidateBatch(), request.ToByteArray());
        Assert.NotNull(refusal);
        Assert.Equal(RefusalKind.InvalidArgument, refusal.Kind);
        Assert.Equal(expected, refusal.Message);
    }

    public static TheoryData<string, object> Mistakes => new()
    {
        { "request_id is empty. Send 1 to 128 bytes that name this request.", Do(static r => r.RequestId = "") },
        { "request_id is 129 bytes long; the limit is 128. Send a shorter one.", Do(static r => r.RequestId = new string('x', 129)) },
        { "surface is empty. Send the surface that the recommendations show on, such as 'for-you'.", Do(static r => r.Surface = "") },
        { "candidate_ids is empty. Send at least one candidate.", Do(static r => r.CandidateIds.Clear()) },
        { "candidate_ids[1] is empty. Send an id of at least one byte.", Do(static r => r.CandidateIds.Add("")) },
        { "candidate_ids[0] is 257 bytes long; the limit is 256. Send a shorter one.", Do(static r => r.CandidateIds[0] = new string('x', 257)) },
        {
            "candidate_ids has more than 1000 entries, the most candidates per request. Split the page over several requests.",
            Do(static r => r.CandidateIds.AddRange(Enumerable.Repeat("x", 1000)))
        },
        {
            "content_versions has 2 entries, but there are 1 candidates. Send one per candidate, or none.",
            Do(static r => r.ContentVersions.AddRange(["1", "2"]))
        },
        {
            "texts['title'].values has 0 entries, but there are 1 candidates. Send one per candidate.",
            Do(static r => r.Texts.Add(new V1.TextColumn { Name = "title" }))
        },
        {
            "texts has two columns named 'title'. Send each feature once.",
            Do(static r => r.Texts.AddRange(Enumerable.Repeat(new V1.TextColumn { Name = "title", Values = { "x" } }, 2)))
        },
        {
            "texts['title'].missing names candidate 1, but there are 1 candidates. Indexes are 0-based.",
            Do(static r => r.Texts.Add(new V1.TextColumn { Name = "title", Values = { "x" }, Missing = { 1 } }))
        },
        {
            "tensors['e'].dtype is 0, which is unknown. Send DATA_TYPE_FLOAT32 (1) or DATA_TYPE_FLOAT16 (2).",
            Do(static r => r.Tensors.Add(new FeatureTensor { Name = "e", Shape = { 1, 1 }, Data = ByteString.CopyFrom(new byte[4]) }))
        },
        {
            "tensors['e'].dtype is 300, which is unknown. Send DATA_TYPE_FLOAT32 (1) or DATA_TYPE_FLOAT16 (2).",
            Do(static r => r.Tensors.Add(new FeatureTensor { Name = "e", Dtype = (V1.DataType)300, Shape = { 1, 1 } }))
        },
        {
            "tensors['e'].shape[0] is 2, but there are 1 candidates. Send one row per candidate.",
            Do(static r => r.Tensors.Add(Tensor([2, 1], 8)))
        },
        {
            "tensors['e'].data has 7 bytes; shape [1, 2] of Float32 takes 8. Send the numbers row by row, little-endian.",
            Do(static r => r.Tensors.Add(Tensor([1, 2], 7)))
        },
        {
            "tensors.shape[1] of 'e' is -3; a dimension is 1 to 2147483647.",
            Do(static r => r.Tensors.Add(Tensor([1, -3], 4)))
        },
        {
            "tensors.shape of 'e' has more than 4 dimensions. Send at most 4.",
            Do(static r => r.Tensors.Add(Tensor([1, 1, 1, 1, 1], 4)))
        },
        {
            "tensors['e'] has NaN for candidate 0, element 1. Send finite numbers, or name the candidate in 'missing'.",
            Do(static r => r.Tensors.Add(Floats(0.5f, float.NaN)))
        },
        {
            "tensors['e'] has Infinity for candidate 0, element 0. Send finite numbers, or name the candidate in 'missing'.",
            Do(static r => r.Tensors.Add(Floats(float.PositiveInfinity, 1)))
        },
        {
            "attributes['tier'] fills 0 of strings, numbers and flags. Fill exactly one.",
            Do(static r => r.Attributes.Add(new V1.AttributeColumn { Name = "tier" }))
        },
        {
            "attributes['tier'] has 2 entries, but there are 1 candidates. Send one per candidate.",
            Do(static r => r.Attributes.Add(new V1.AttributeColumn { Name = "tier", Strings = { "a", "b" } }))
        },
        {
            "attributes[0].name is empty. Send the attribute's name as policies say it.",
            Do(static r => r.Attributes.Add(new V1.AttributeColumn { Flags = { true } }))
        },
    };

    [Fact]
    public void Read_NotFiniteInAMissingRow_IsNoMistake()
    {
        var request = Minimal();
        var tensor = Floats(float.NaN, 1);
        tensor.Missing.Add(0);
        request.Tensors.Add(tensor);
        Assert.Null(Read(new CandidateBatch(), request.ToByteArray()));
    }

    [Fact]
    public void Read_InvalidUtf8_NamesTheField()
    {
        byte[] bytes = [.. Minimal().ToByteArray(), 0x2A, 2, 0xC3, 0x28];
        Assert.Equal("candidate_ids[1] is not valid UTF-8. Encode strings as UTF-8.", Read(new CandidateBatch(), bytes)?.Message);
    }

    [Fact]
    public void Read_RequestIdIsInvalidUtf8_IsNotKept()
    {
        var batch = new CandidateBatch();
        Assert.Equal("request_id is not valid UTF-8. Encode strings as UTF-8.", Read(batch, [0x0A, 1, 0xFF])?.Message);
        Assert.True(batch.RequestId.IsEmpty);
    }

    [Fact]
    public void Read_Garbage_SaysWhere()
    {
        byte[] bytes = [.. Minimal().ToByteArray(), 0xFF, 0xFF, 0xFF];
        Assert.Equal(
            $"The message is not a FilterRequest: its bytes cannot be read at offset {bytes.Length - 3}. Encode it from filter.proto.",
            Read(new CandidateBatch(), bytes)?.Message);
    }

    [Fact]
    public void Read_SteadyState_AllocatesNothing()
    {
        var request = RequestGen.Valid.Single();
        var bytes = request.ToByteArray();
        var batch = new CandidateBatch();

        Assert.Equal(0, AllocatedBytes.Of(100, () => Read(batch, bytes)));
    }

    internal static Refusal? Read(CandidateBatch batch, byte[] bytes)
    {
        batch.Reset();
        batch.Buffer = bytes;
        return FilterRequestReader.Read(batch, bytes.Length, Limits) ?? FilterRequestRules.Check(batch);
    }

    private static FilterRequest Minimal() => new() { RequestId = "r", Surface = "for-you", CandidateIds = { "a" } };

    private static FeatureTensor Tensor(long[] shape, int bytes) =>
        new() { Name = "e", Dtype = V1.DataType.Float32, Shape = { shape }, Data = ByteString.CopyFrom(new byte[bytes]) };

    private static FeatureTensor Floats(params float[] values) => new()
    {
        Name = "e",
        Dtype = V1.DataType.Float32,
        Shape = { 1, values.Length },
        Data = ByteString.CopyFrom([.. values.SelectMany(BitConverter.GetBytes)]),
    };

    private static object Do(Action<FilterRequest> mutation) => mutation;

    private static void Same(FilterRequest expected, CandidateBatch actual)
    {
        var reparsed = FilterRequest.Parser.ParseFrom(expected.ToByteArray());
        Assert.Equal(reparsed.RequestId, Text(actual, actual.RequestId));
        Assert.Equal(reparsed.Surface, Text(actual, actual.Surface));
        Assert.Equal(reparsed.Purpose, Text(actual, actual.Purpose));
        Assert.Equal(reparsed.Viewer?.Territory ?? "", Text(actual, actual.Territory));
        Assert.Equal(reparsed.Viewer?.AgeBand ?? "", Text(actual, actual.AgeBand));
        Assert.Equal(reparsed.Viewer?.Experiment ?? "", Text(actual, actual.Experiment));
        Assert.Equal(reparsed.Viewer?.Subject ?? "", Text(actual, actual.Subject));
        Assert.Equal(reparsed.ReturnScores, actual.ReturnScores);
        Assert.Equal(reparsed.CandidateIds, Texts(actual, actual.Ids));
        Assert.Equal(reparsed.ContentVersions, Texts(actual, actual.ContentVersions));
        Assert.Equal(reparsed.Languages, Texts(actual, actual.Languages));
        Assert.Equal(reparsed.Texts.Count, actual.Texts.Count);
        foreach (var (theirs, ours) in reparsed.Texts.Zip(actual.Texts))
        {
            Assert.Equal(theirs.Name, Text(actual, ours.Name));
            Assert.Equal(theirs.Values, Texts(actual, ours.Values));
            Assert.Equal(theirs.Missing, ours.Missing.Select(static index => (uint)index));
        }

        Assert.Equal(reparsed.Tensors.Count, actual.Tensors.Count);
        foreach (var (theirs, ours) in reparsed.Tensors.Zip(actual.Tensors))
        {
            Assert.Equal(theirs.Name, Text(actual, ours.Name));
            Assert.Equal((int)theirs.Dtype, (int)ours.DataType);
            Assert.Equal(theirs.Shape[1], ours.RowLength);
            Assert.Equal(theirs.Data.ToByteArray(), actual.Buffer.AsSpan(ours.Data.Start, ours.Data.Length).ToArray());
        }

        Assert.Equal(reparsed.Attributes.Count, actual.Attributes.Count);
        foreach (var (theirs, ours) in reparsed.Attributes.Zip(actual.Attributes))
        {
            Assert.Equal(theirs.Name, Text(actual, ours.Name));
            Assert.Equal(theirs.Strings, Texts(actual, ours.Strings));
            Assert.Equal(theirs.Numbers, ours.Numbers);
            Assert.Equal(theirs.Flags, ours.Flags);
        }
    }

    private static string Text(CandidateBatch batch, ByteSlice slice) => slice.ToString(batch.Buffer);

    private static IEnumerable<string> Texts(CandidateBatch batch, Utf8Column column) => column.Slices.ToArray().Select(slice => Text(batch, slice));
}
