using CsCheck;
using Google.Protobuf;
using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Tests.Sidecar;

namespace SafetyFilter.Tests.Ledger;

/// <summary>What records say of whom, for any request and any terms.</summary>
public sealed class PrivacyTests : IDisposable
{
    private const ulong Time = 1_700_000_000_000_000_000;
    private static readonly byte[] Stream = [.. Enumerable.Range(1, 16).Select(static i => (byte)i)];

    private readonly LedgerFolder _folder = new();

    private string Keys => Path.Combine(_folder.Path, "subjects.keys");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Encode_AnyTerms_LeavesNoByteOfWhatItHides()
    {
        using var privacy = Privacy();
        PrivateCase.Any.Sample(
            one =>
            {
                var decision = one.Decide();
                privacy.Prepare(decision.Terms.RecordPlan);
                var record = Encode(decision, privacy, out _);
                foreach (var (path, token) in one.Tokens)
                {
                    var hidden = one.Terms.Mask.Contains(path) || one.Terms.Seal.Contains(path) || one.Terms.Hash.Contains(path);
                    var recorded = path != "inputs" || one.Terms.InputCapture == 1;
                    Assert.Equal((path, hidden || !recorded), (path, record.AsSpan().IndexOf(token) < 0));
                }

                Assert.True(record.AsSpan().IndexOf(PrivateCase.SubjectToken) < 0);
                var parsed = DecisionRecord.Parser.ParseFrom(record);
                Assert.Equal(parsed.CalculateSize(), record.Length);
                Assert.Equal(one.Terms.Hash, parsed.Hashed);
                Assert.Equal(one.Terms.Hash.IsEmpty ? [] : privacy.Hash!.Id.ToArray(), parsed.HashKeyId.ToByteArray());
                var sealable = one.Terms.Seal.Where(path => path != "inputs" || one.Terms.InputCapture == 1).OrderBy(static path => path == "inputs").ToList();
                Assert.Equal(one.HasSubject ? one.Terms.Mask : one.Terms.Mask.Concat(sealable), parsed.Masked);
                Assert.Equal(one.HasSubject ? sealable : [], parsed.Sealed?.Paths.ToList() ?? []);
            },
            iter: 400,
            threads: 1);
    }

    [Fact]
    public void Open_AnySealedRecord_IsTheRecordThatWasNotSealed()
    {
        using var privacy = Privacy();
        PrivateCase.Any.Where(static one => one.HasSubject).Sample(
            one =>
            {
                var decision = one.Decide();
                privacy.Prepare(decision.Terms.RecordPlan);
                var record = DecisionRecord.Parser.ParseFrom(Encode(decision, privacy, out var shortfall));
                Assert.Equal(RecordShortfall.None, shortfall);
                if (one.Terms.Seal.IsEmpty || record.Sealed is null)
                {
                    return;
                }

                using var keys = SubjectKeyFile.Open(Keys);
                Assert.Equal(SealState.Opened, SealedFields.Open(record, keys));

                var open = DecisionRecord.Parser.ParseFrom(Encode(one.Decide(one.Terms with { Seal = [] }), privacy, out _));
                record.Sealed = null;
                Assert.Equal(Normal(open), Normal(record));
            },
            iter: 200,
            threads: 1);
    }

    [Fact]
    public void Hash_IsEqualWhereValuesPathsAndKeysAreEqual()
    {
        var (one, other) = (new HashKey(new byte[32]), new HashKey([1, .. new byte[31]]));
        Gen.Select(Gen.String, Gen.String, Gen.OneOf("request_id", "caller"), Gen.OneOf("request_id", "caller")).Sample((a, b, left, right) =>
        {
            Assert.Equal((a, left) == (b, right), one.Of(left, a) == one.Of(right, b));
            Assert.NotEqual(one.Of(left, a), other.Of(left, a));
            Assert.Equal(HashKey.TextLength, one.Of(left, a).Length);
        });
    }

    [Fact]
    public void Hash_KnownValue_IsWhatLineageProtoSays()
    {
        // HMAC-SHA256 by another implementation: python3 -c "import hmac,base64;print(base64.urlsafe_b64encode(hmac.digest(bytes(range(32)),b'request_id' + bytes(1) + b'r-1','sha256')[:16]))"
        var key = new HashKey([.. Enumerable.Range(0, 32).Select(static i => (byte)i)]);
        Assert.Equal("h1:rlD8PUR7Q5eWr4xkG9M-jQ", key.Of("request_id", "r-1"));
    }

    [Fact]
    public void Encode_HashedColumns_HaveTheHashOfEachValue()
    {
        using var privacy = Privacy();
        var one = PrivateCase.With(RecordTerms.Default with { Hash = ["candidate_ids", "caller", "content_versions", "request_id"] });
        var decision = one.Decide();
        privacy.Prepare(decision.Terms.RecordPlan);
        var record = DecisionRecord.Parser.ParseFrom(Encode(decision, privacy, out _));
        var batch = decision.Batch;
        Assert.Equal(batch.Ids.Slices.ToArray().Select(id => privacy.Hash!.Of("candidate_ids", id.ToString(batch.Buffer))), record.CandidateIds);
        Assert.Equal(batch.ContentVersions.Slices.ToArray().Select(id => privacy.Hash!.Of("content_versions", id.ToString(batch.Buffer))), record.ContentVersions);
        Assert.Equal(privacy.Hash!.Of("request_id", batch.RequestId.ToString(batch.Buffer)), record.RequestId);
        Assert.Equal(privacy.Hash!.Of("caller", decision.Caller), record.Caller);
    }

    [Fact]
    public void Encode_NoKeys_MasksWhatShouldBeHashedOrSealed()
    {
        var one = PrivateCase.With(RecordTerms.Default with { Hash = ["request_id"], Seal = ["viewer.age_band"] });
        var writer = new ProtoWriter();
        Assert.Equal(RecordShortfall.Unsealed, DecisionRecordEncoder.Encode(one.Decide(), Stream, 7, 0, writer));
        var record = DecisionRecord.Parser.ParseFrom(writer.Written);
        Assert.Equal(["viewer.age_band", "request_id"], record.Masked);
        Assert.Equal(("", "", 0), (record.RequestId, record.AgeBand, record.Hashed.Count));
    }

    [Fact]
    public void Encode_CapturedInputs_AreThoseOfTheRequestBitForBit() => RequestGen.Valid.Sample(static request =>
    {
        var decision = new Decision();
        Assert.Null(FilterRequestReaderTests.Read(decision.Batch, request.ToByteArray()));
        decision.Begin(new DecisionTerms(
            "feed", "policy", "", "", "", [], [], [new RuleTerms("default", CandidateAction.Allow, "", default, 0, "", 0)], [], [], readsLanguage: false,
            RecordTerms.Default with { InputCapture = 1 }, [.. request.Texts.Select(static column => column.Name)], [.. request.Tensors.Skip(1).Select(static column => column.Name)]));
        decision.Verdicts.Reset(decision.Batch.Count, 0);
        decision.CollectUsedRules();
        var inputs = DecisionRecord.Parser.ParseFrom(Encode(decision, null, out _)).Inputs;

        Assert.Equal(request.Texts.Select(static column => column.Name), inputs.Texts.Select(static column => column.Name));
        foreach (var (sent, kept) in request.Texts.Zip(inputs.Texts))
        {
            Assert.Equal(sent.Values, kept.Values);
            Assert.Equal(sent.Missing.Distinct().Order(), kept.Missing);
        }

        // The first tensor is one that no bundle reads.
        Assert.Equal(request.Tensors.Skip(1).Select(static column => column.Name), inputs.Tensors.Select(static column => column.Name));
        foreach (var (sent, kept) in request.Tensors.Skip(1).Zip(inputs.Tensors))
        {
            Assert.Equal((sent.Data, (uint)sent.Dtype), (kept.Data, kept.Dtype));
            Assert.Equal(sent.Shape, kept.Shape);
            Assert.Equal(sent.Missing.Distinct().Order(), kept.Missing);
        }
    });

    [Fact]
    public void Encode_InputsThatDoNotFit_LeavesThemOutAndSaysSo()
    {
        var one = PrivateCase.With(RecordTerms.Default with { InputCapture = 1 });
        using var small = new RecordPrivacy(new PrivacyOptions(), _folder.Path, 5000, TimeProvider.System, NullLogger<RecordPrivacy>.Instance);
        var record = DecisionRecord.Parser.ParseFrom(Encode(one.Decide(), small, out var shortfall));
        Assert.Equal(RecordShortfall.InputsDropped, shortfall);
        Assert.Null(record.Inputs);
        Assert.Equal(["inputs"], record.Masked);
    }

    [Fact]
    public void Encode_Sampled_TakesAboutTheShareAndAlwaysTheSame()
    {
        var one = PrivateCase.With(RecordTerms.Default with { InputCapture = 0.25 });
        var decision = one.Decide();
        var taken = 0;
        var random = new Random(1);
        for (var i = 0; i < 4000; i++)
        {
            random.NextBytes(decision.InputDigests);
            var first = DecisionRecord.Parser.ParseFrom(Encode(decision, null, out _)).Inputs is not null;
            Assert.Equal(first, DecisionRecord.Parser.ParseFrom(Encode(decision, null, out _)).Inputs is not null);
            taken += first ? 1 : 0;
        }

        Assert.InRange(taken, 850, 1150); // 1000, and five standard deviations of 27.
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Encode_HashingOrNot_AllocatesNothing(bool hashes)
    {
        using var privacy = Privacy();
        var one = PrivateCase.With(hashes ? RecordTerms.Default with { Hash = ["candidate_ids", "request_id"], Mask = ["caller"], InputCapture = 1 } : RecordTerms.Default);
        var decision = one.Decide();
        decision.TraceId = default; // A trace id keeps its text, which it makes when it is copied.
        privacy.Prepare(decision.Terms.RecordPlan);
        var writer = new ProtoWriter();

        Assert.Equal(0, AllocatedBytes.Of(100, () => DecisionRecordEncoder.Encode(decision, Stream, 7, 3, writer, privacy)));
    }

    [Fact]
    public void Erase_Subject_GoneForGoodWhileTheLedgerStaysWhole()
    {
        using var privacy = Privacy();
        var one = PrivateCase.With(RecordTerms.Default with { Seal = ["viewer.age_band", "candidate_ids"] });
        var decision = one.Decide();
        privacy.Prepare(decision.Terms.RecordPlan);
        var records = new List<DecisionRecord>();
        using (var spool = _folder.Open(_folder.Options()))
        {
            Append(spool, decision, privacy, records);
            using (var keys = SubjectKeyFile.Open(Keys, forErasing: true))
            {
                Assert.Equal(1, keys.Erase(PrivateCase.SubjectToken));
                Assert.Equal(0, keys.Erase(PrivateCase.SubjectToken));
                Assert.Equal(0, keys.Erase("nobody"u8));
            }

            // The same subject again, in the same process: another key.
            Append(spool, decision, privacy, records);
        }

        Assert.NotEqual(records[0].Sealed.KeyId, records[1].Sealed.KeyId);
        using var reader = SubjectKeyFile.Open(Keys);
        Assert.Equal(SealState.Erased, SealedFields.Open(records[0], reader));
        Assert.Equal(SealState.Opened, SealedFields.Open(records[1], reader));
        Assert.Equal(("", "adult-band-token"), (records[0].AgeBand, records[1].AgeBand));
        using var verifier = new LedgerVerifier();
        Assert.True(verifier.AddSpool(_folder.Path, out var error), error);
        Assert.Empty(verifier.Findings);

        // Nor is the old key in the file's bytes anywhere: the slot is all zeros where it was.
        using var again = SubjectKeyFile.Open(Keys);
        Assert.Equal(SlotState.Destroyed, again.TryGetKey(records[0].Sealed.KeyId.Span, out var none));
        Assert.Empty(none);
    }

    [Fact]
    public void Open_ChangedRecord_IsForged()
    {
        using var privacy = Privacy();
        var decision = PrivateCase.With(RecordTerms.Default with { Seal = ["viewer.age_band"] }).Decide();
        privacy.Prepare(decision.Terms.RecordPlan);
        var record = DecisionRecord.Parser.ParseFrom(Encode(decision, privacy, out _));
        using var keys = SubjectKeyFile.Open(Keys);
        Assert.Equal(SealState.Forged, SealedFields.Open(Changed(record, static copy => copy.Epoch++), keys));
        Assert.Equal(SealState.Forged, SealedFields.Open(Changed(record, static copy => copy.TimeUnixNanos++), keys));
        Assert.Equal(SealState.Forged, SealedFields.Open(Changed(record, static copy => copy.Sealed.Nonce = ByteString.CopyFrom(new byte[12])), keys));
        Assert.Equal(SealState.UnknownKey, SealedFields.Open(Changed(record, static copy => copy.Sealed.KeyId = ByteString.CopyFrom(new byte[16])), keys));
        Assert.Equal(SealState.Opened, SealedFields.Open(record, keys));
        Assert.Equal(SealState.None, SealedFields.Open(new DecisionRecord(), keys));
    }

    private static DecisionRecord Changed(DecisionRecord record, Action<DecisionRecord> change)
    {
        var copy = record.Clone();
        change(copy);
        return copy;
    }

    private static void Append(Spool spool, Decision decision, RecordPrivacy privacy, List<DecisionRecord> records)
    {
        var writer = new ProtoWriter();
        DecisionRecordEncoder.Encode(decision, spool.StreamId.ToByteArray(bigEndian: true), spool.Epoch, 0, writer, privacy);
        Assert.Equal(AppendResult.Appended, spool.Append(RecordType.Decision, writer.Written, out _));
        records.Add(DecisionRecord.Parser.ParseFrom(writer.Written));
    }

    private static byte[] Encode(Decision decision, RecordPrivacy? privacy, out RecordShortfall shortfall)
    {
        decision.TimeUnixNanos = (long)Time;
        var writer = new ProtoWriter();
        shortfall = DecisionRecordEncoder.Encode(decision, Stream, 7, 3, writer, privacy);
        return writer.Written.ToArray();
    }

    // Merging appends: which attribute stands first means nothing.
    private static DecisionRecord Normal(DecisionRecord record)
    {
        var attributes = record.Attributes.OrderBy(static attribute => attribute.Name, StringComparer.Ordinal).ToList();
        record.Attributes.Clear();
        record.Attributes.AddRange(attributes);
        return record;
    }

    private RecordPrivacy Privacy() => new(
        new PrivacyOptions { MaxSubjects = 100 }, _folder.Path, 1 << 20, TimeProvider.System, NullLogger<RecordPrivacy>.Instance);
}
