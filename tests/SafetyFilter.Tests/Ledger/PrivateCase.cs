using System.Collections.Immutable;
using System.Diagnostics;
using System.Text;
using CsCheck;
using Google.Protobuf;
using SafetyFilter.Decisions;
using SafetyFilter.Tests.Sidecar;
using SafetyFilter.V1;
using AttributeColumn = SafetyFilter.V1.AttributeColumn;
using DataType = SafetyFilter.V1.DataType;
using TextColumn = SafetyFilter.V1.TextColumn;

namespace SafetyFilter.Tests.Ledger;

/// <summary>A decision with a telling token in every part of it that can be hashed, masked or sealed, and terms that do so.</summary>
internal sealed record PrivateCase(RecordTerms Terms, bool HasSubject, int Candidates)
{
    private static readonly ActivityTraceId Trace = ActivityTraceId.CreateFromString("0af7651916cd43dd8448eb211c80319c");

    public static ReadOnlySpan<byte> SubjectToken => "subject-token"u8;

    public static Gen<PrivateCase> Any { get; } =
        from places in Gen.Int[0, 3].Array[RecordPaths.All.Length + 1]
        from captures in Gen.Bool
        from subject in Gen.Bool
        from candidates in Gen.Int[1, 70]
        select new PrivateCase(TermsOf(places, captures), subject, candidates);

    /// <summary>What would be seen of each path.</summary>
    public IEnumerable<(string Path, byte[] Token)> Tokens =>
    [
        ("request_id", "request-token"u8.ToArray()),
        ("caller", "caller-token"u8.ToArray()),
        ("trace", Convert.FromHexString(Trace.ToHexString())),
        ("candidate_ids", "candidate-token"u8.ToArray()),
        ("content_versions", "version-token"u8.ToArray()),
        ("input_digests", "digest-token-16b"u8.ToArray()),
        ("languages", "language-token"u8.ToArray()),
        ("inputs", "caption-token"u8.ToArray()),
        ("inputs", "tensor-token"u8.ToArray()),
        ("viewer.territory", "terrtokn"u8.ToArray()),
        ("viewer.age_band", "adult-band-token"u8.ToArray()),
        ("viewer.experiment", "experiment-token"u8.ToArray()),
        ("attributes.creator", "creator-token"u8.ToArray()),
    ];

    public static PrivateCase With(RecordTerms terms) => new(terms, HasSubject: true, Candidates: 20);

    public Decision Decide(RecordTerms? terms = null)
    {
        var decision = new Decision();
        Assert.Null(FilterRequestReaderTests.Read(decision.Batch, Request().ToByteArray()));
        decision.Begin(new DecisionTerms(
            "feed", "policy", new string('a', 64), new string('b', 64), "test", [new BundleSlot("bundle", "1.0.0", new byte[32])],
            [new ClassifierSlot("bundle/label", 0, global::SafetyFilter.Decisions.FailMode.Closed)], [new RuleTerms("default", CandidateAction.Allow, "", default, 0, "", 0)], [],
            ["creator"], readsLanguage: true, terms ?? Terms, ["absent", "caption"], ["embedding", "half"]));
        decision.TimeUnixNanos = 1;
        decision.Caller = "caller-token";
        decision.TraceId = Trace;
        decision.SpanId = ActivitySpanId.CreateFromString("b7ad6b7169203331");
        decision.Runs[0] = default;
        for (var i = 0; i < Candidates; i++)
        {
            "digest-token-16b"u8.CopyTo(decision.InputDigests[(i * 16)..]);
        }

        decision.Scores.Row(0).Clear();
        decision.Verdicts.Reset(Candidates, 0);
        decision.CollectUsedRules();
        return decision;
    }

    public FilterRequest Request()
    {
        var request = new FilterRequest
        {
            RequestId = "request-token",
            Surface = "feed",
            Viewer = new ViewerContext
            {
                Territory = "terrtokn",
                AgeBand = "adult-band-token",
                Experiment = "experiment-token",
                Subject = HasSubject ? Encoding.UTF8.GetString(SubjectToken) : "",
            },
        };
        var caption = new TextColumn { Name = "caption" };
        var creator = new AttributeColumn { Name = "creator" };
        for (var i = 0; i < Candidates; i++)
        {
            request.CandidateIds.Add($"candidate-token-{i}");
            request.ContentVersions.Add($"version-token-{i}");
            request.Languages.Add("language-token");
            caption.Values.Add($"caption-token {i}");
            creator.Strings.Add($"creator-token-{i}");
        }

        // As a request may name them: in any order, twice.
        caption.Missing.Add([(uint)Candidates - 1, 0, 0]);
        request.Texts.Add(caption);
        request.Texts.Add(new TextColumn { Name = "unread", Values = { Enumerable.Repeat("unread", Candidates) } });
        request.Attributes.Add(creator);
        request.Tensors.Add(Tensor("embedding", DataType.Float32, 4));
        request.Tensors.Add(Tensor("half", DataType.Float16, 2));
        request.Tensors[1].Missing.Add(0);
        return request;
    }

    private FeatureTensor Tensor(string name, DataType type, int size)
    {
        var data = new byte[Candidates * 6 * size];
        for (var i = 0; i < Candidates; i++)
        {
            "tensor-token"u8.CopyTo(data.AsSpan(i * 6 * size));
        }

        return new FeatureTensor { Name = name, Dtype = type, Shape = { Candidates, 2, 3 }, Data = ByteString.CopyFrom(data) };
    }

    private static RecordTerms TermsOf(int[] places, bool captures)
    {
        string[] all = [.. RecordPaths.All, "attributes.creator"];
        return RecordTerms.Default with { InputCapture = captures ? 1 : 0, Hash = Placed(1), Mask = Placed(2), Seal = Placed(3) };

        ImmutableArray<string> Placed(int place) =>
        [
            .. all
                .Where((path, i) => places[i] == place && (place != 1 || RecordPaths.Hashable.Contains(path)) && (place != 2 || path != "inputs" || !captures))
                .Order(StringComparer.Ordinal),
        ];
    }
}
