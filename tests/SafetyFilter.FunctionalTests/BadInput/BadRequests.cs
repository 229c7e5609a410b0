using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.BadInput;

/// <summary>Everything that a caller can get wrong, with the answer that tells him.</summary>
/// <param name="Message">How the answer begins.</param>
internal sealed record BadRequest(byte[] Bytes, StatusCode Code, string Message)
{
    /// <summary>Of the sidecar that these requests are sent to. Small, so that a message over it is quickly made.</summary>
    public const int MessageLimit = 64 * 1024;

    public static IReadOnlyDictionary<string, BadRequest> All { get; } = new Dictionary<string, BadRequest>(StringComparer.Ordinal)
    {
        ["unknown surface"] = Wrong(
            StatusCode.NotFound, "surface 'for_you' is not served by any loaded policy. Send one of: for-you, home, kids, search, shorts.",
            static r => r.Surface = "for_you"),
        ["no surface"] = Wrong("surface is empty. Send the surface", static r => r.Surface = ""),
        ["surface too long"] = Wrong("surface is 65 bytes long; the limit is 64.", static r => r.Surface = new string('s', 65)),
        ["purpose not served"] = Wrong(
            StatusCode.PermissionDenied, "purpose 'advertising' is not one that policy 'for-you' serves. Send one of: recommendation.",
            static r => r.Purpose = "advertising"),
        ["no request id"] = Wrong("request_id is empty. Send 1 to 128 bytes", static r => r.RequestId = ""),
        ["request id too long"] = Wrong("request_id is 129 bytes long; the limit is 128.", static r => r.RequestId = new string('x', 129)),
        ["no candidates"] = Wrong("candidate_ids is empty. Send at least one candidate.", static r => r.CandidateIds.Clear()),
        ["too many candidates"] = Wrong(
            "candidate_ids has more than 1000 entries, the most candidates per request. Split the page over several requests.",
            static r => r.CandidateIds.AddRange(Enumerable.Repeat("x", 999))),
        ["candidate id missing"] = Wrong("candidate_ids[1] is empty. Send an id of at least one byte.", static r => r.CandidateIds[1] = ""),
        ["candidate id too long"] = Wrong(
            "candidate_ids[1] is 257 bytes long; the limit is 256. Send a shorter one.", static r => r.CandidateIds[1] = new string('x', 257)),
        ["fewer content versions than candidates"] = Wrong(
            "content_versions has 1 entries, but there are 2 candidates.", static r => r.ContentVersions.Add("1")),
        ["more languages than candidates"] = Wrong(
            "languages has 3 entries, but there are 2 candidates.", static r => r.Languages.AddRange(["en", "en", "en"])),
        ["fewer texts than candidates"] = Wrong(
            "texts['text'].values has 1 entries, but there are 2 candidates. Send one per candidate.", static r => r.Texts[0].Values.RemoveAt(0)),
        ["text too long"] = Wrong(
            "texts.values[0] is 16385 bytes long; the limit is 16384.", static r => r.Texts[0].Values[0] = new string('x', 16385)),
        ["text missing for nobody"] = Wrong(
            "texts['text'].missing names candidate 2, but there are 2 candidates. Indexes are 0-based.", static r => r.Texts[0].Missing.Add(2)),
        ["the same text twice"] = Wrong("texts has two columns named 'text'. Send each feature once.", static r => r.Texts.Add(r.Texts[0])),
        ["too many text columns"] = Wrong(
            "texts has more than 8 columns. Send at most 8.",
            static r => r.Texts.AddRange(Enumerable.Range(0, 8).Select(static i => new TextColumn { Name = $"t{i}", Values = { "", "" } }))),
        ["fewer attributes than candidates"] = Wrong(
            "attributes['tier'] has 1 entries, but there are 2 candidates.",
            static r => r.Attributes.Add(new AttributeColumn { Name = "tier", Strings = { "new" } })),
        ["an attribute of two kinds"] = Wrong(
            "attributes['tier'] fills 2 of strings, numbers and flags. Fill exactly one.",
            static r => r.Attributes.Add(new AttributeColumn { Name = "tier", Strings = { "a", "b" }, Flags = { true, false } })),
        ["tensor of fewer rows than candidates"] = Wrong(
            "tensors['embedding'].shape[0] is 1, but there are 2 candidates.", static r => r.Tensors.Add(Tensor([1, 2], 8))),
        ["tensor bytes that do not match the shape"] = Wrong(
            "tensors['embedding'].data has 15 bytes; shape [2, 2] of Float32 takes 16.", static r => r.Tensors.Add(Tensor([2, 2], 15))),
        ["tensor bytes that do not match the dtype"] = Wrong(
            "tensors['embedding'].data has 16 bytes; shape [2, 2] of Float16 takes 8.",
            static r => r.Tensors.Add(Tensor([2, 2], 16, DataType.Float16))),
        ["tensor shape beyond all memory"] = Wrong(
            "tensors['embedding'].data has 16 bytes; shape [2, 2000000000, 2000000000, 2000000000] of Float32 takes",
            static r => r.Tensors.Add(Tensor([2, 2_000_000_000, 2_000_000_000, 2_000_000_000], 16))),
        ["negative dimension"] = Wrong(
            "tensors.shape[1] of 'embedding' is -1; a dimension is 1 to 2147483647.", static r => r.Tensors.Add(Tensor([2, -1], 8))),
        ["unknown dtype"] = Wrong(
            "tensors['embedding'].dtype is 9, which is unknown. Send DATA_TYPE_FLOAT32 (1) or DATA_TYPE_FLOAT16 (2).",
            static r => r.Tensors.Add(Tensor([2, 2], 16, (DataType)9))),
        ["no dtype"] = Wrong(
            "tensors['embedding'].dtype is 0, which is unknown.", static r => r.Tensors.Add(Tensor([2, 2], 16, DataType.Unspecified))),
        ["NaN in a feature"] = Wrong(
            "tensors['embedding'] has NaN for candidate 1, element 0. Send finite numbers, or name the candidate in 'missing'.",
            static r => r.Tensors.Add(Tensor([2, 2], 16, numbers: [0, 1, float.NaN, 3]))),
        ["infinity in a feature"] = Wrong(
            "tensors['embedding'] has -Infinity for candidate 0, element 1.",
            static r => r.Tensors.Add(Tensor([2, 2], 16, numbers: [0, float.NegativeInfinity, 2, 3]))),
        ["no feature that any classifier reads"] = Wrong(
            "The request has no feature that a classifier of surface 'for-you' can read. Send at least one of: texts['text'] (text-safety).",
            static r => r.Texts.Clear()),
        ["an embedding of another width"] = Wrong(
            "The request has no feature that a classifier of surface 'shorts' can read. Send at least one of: tensors['embedding'] of shape [candidates, 128]",
            static r =>
            {
                r.Surface = "shorts";
                r.Tensors.Add(Tensor([2, 2], 16));
            }),
        ["no feature, on a surface of two bundles"] = Wrong(
            "The request has no feature that a classifier of surface 'kids' can read. Send at least one of:",
            static r => (r.Surface, r.Texts[0].Name) = ("kids", "title")),
        ["invalid UTF-8 in an id"] = new(
            [.. Good().ToByteArray(), 0x2A, 2, 0xC3, 0x28], StatusCode.InvalidArgument, "candidate_ids[2] is not valid UTF-8. Encode strings as UTF-8."),
        ["invalid UTF-8 in the surface"] = new(
            [.. Good().ToByteArray(), 0x12, 1, 0x80], StatusCode.InvalidArgument, "surface is not valid UTF-8. Encode strings as UTF-8."),
        ["a surrogate in UTF-8"] = new(
            [.. Good().ToByteArray(), 0x0A, 3, 0xED, 0xA0, 0x80], StatusCode.InvalidArgument, "request_id is not valid UTF-8."),
        ["nothing at all"] = new([], StatusCode.InvalidArgument, "request_id is empty."),
        ["garbage"] = new(
            [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], StatusCode.InvalidArgument,
            "The message is not a FilterRequest: its bytes cannot be read at offset 0. Encode it from filter.proto."),
        ["another protocol"] = new(
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray(), StatusCode.InvalidArgument, "The message is not a FilterRequest:"),
        ["a message cut short"] = new(Good().ToByteArray()[..^1], StatusCode.InvalidArgument, "The message is not a FilterRequest:"),
        ["a length beyond the message"] = new(
            [.. Good().ToByteArray(), 0x2A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F], StatusCode.InvalidArgument, "The message is not a FilterRequest:"),
        ["groups without end"] = new(
            [.. Enumerable.Repeat((byte)0xA3, 3000).SelectMany(static tag => new byte[] { tag, 0x06 })], StatusCode.InvalidArgument,
            "The message is not a FilterRequest:"),
        ["a message over the limit"] = new(
            Over(MessageLimit + 1), StatusCode.ResourceExhausted,
            $"The message has {MessageLimit + 1} bytes; Limits:MaxMessageBytes is {MessageLimit}. Split the page over several requests."),
        ["a message of twice the limit"] = new(
            Over(MessageLimit * 2), StatusCode.ResourceExhausted,
            $"The message has {MessageLimit * 2} bytes; Limits:MaxMessageBytes is {MessageLimit}."),
    };

    public static FilterRequest Good(string id = "good") => Wire.Page(id, "for-you", "Ten quiet walks in the Alps", "How to mend a bicycle tyre");

    /// <summary>A right message of exactly so many bytes, most of them in a field that nobody knows.</summary>
    public static byte[] Over(int length)
    {
        var good = Good().ToByteArray();

        // Field 100, length-delimited: two bytes of tag and three of length.
        var padding = length - good.Length - 5;
        byte[] header = [0xA2, 0x06, (byte)(padding | 0x80), (byte)(padding >> 7 | 0x80), (byte)(padding >> 14)];
        return [.. good, .. header, .. new byte[padding]];
    }

    private static BadRequest Wrong(string message, Action<FilterRequest> mistake) => Wrong(StatusCode.InvalidArgument, message, mistake);

    private static BadRequest Wrong(StatusCode code, string message, Action<FilterRequest> mistake)
    {
        var request = Good();
        mistake(request);
        return new BadRequest(request.ToByteArray(), code, message);
    }

    private static FeatureTensor Tensor(long[] shape, int bytes, DataType dtype = DataType.Float32, float[]? numbers = null) => new()
    {
        Name = "embedding",
        Dtype = dtype,
        Shape = { shape },
        Data = ByteString.CopyFrom(numbers is null ? new byte[bytes] : [.. numbers.SelectMany(BitConverter.GetBytes)]),
    };
}
