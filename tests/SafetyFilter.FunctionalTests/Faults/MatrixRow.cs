using System.Runtime.InteropServices;
using Google.Protobuf;
using Grpc.Core;
using SafetyFilter.FunctionalTests.Decisions;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.Operations.V1;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Faults;

/// <summary>Asks on the surface of one row until its failure happens, and counts what it was answered.</summary>
internal sealed class MatrixRow(MatrixSidecar sidecar, MatrixFailure failure, MatrixMode mode)
{
    public const int Candidates = 2;

    // Half of the calls fail: one of each kind comes soon.
    private const int MostAttempts = 200;

    private readonly Dictionary<(string Classifier, FailureKind Failure, FailMode Mode), int> _marks = [];
    private Status _refusal;

    public string Surface { get; } = FailureMatrix.Surface(failure, mode);

    public int Asked { get; private set; }

    /// <summary>Requests for which the classifier gave not all scores, refused ones among them.</summary>
    public int Failed { get; private set; }

    public int Refused { get; private set; }

    /// <summary>Candidates by what the answers say of them.</summary>
    public IReadOnlyDictionary<(string Classifier, FailureKind Failure, FailMode Mode), int> Marks => _marks;

    /// <summary>The answer from which scores are remembered; null where the mode remembers none.</summary>
    public FilterResponse? Known { get; private set; }

    /// <summary>Makes the classifier fail as the row says.</summary>
    /// <returns>The answer, or the refusal.</returns>
    public async Task<(FilterResponse? Response, Status Refusal)> FailAsync()
    {
        if (mode == MatrixMode.Remembered)
        {
            Known = await UntilAsync(static response => response?.Degradations.Count == 0, Request(isWhole: true));
        }

        if (failure == MatrixFailure.Isolated)
        {
            await sidecar.Operations.IsolateBreakerAsync(new BreakerRequest { Bundle = failure.Bundle, Group = Surface }, cancellationToken: Cancelled);
        }
        else if (failure == MatrixFailure.Opens)
        {
            for (var attempt = 0; (await BreakerAsync()).State == BreakerStatus.Types.State.Closed; attempt++)
            {
                Assert.InRange(attempt, 0, MostAttempts);
                await AskAsync(Request(isWhole: true));
            }
        }

        var request = Request(isWhole: !failure.IsCallers);
        var response = await UntilAsync(response => response is null || response.Degradations.Any(mark => mark.Failure == failure.Kind), request);
        return (response, _refusal);
    }

    public async Task<BreakerStatus> BreakerAsync()
    {
        var all = await sidecar.Operations.ListBreakersAsync(new ListBreakersRequest(), cancellationToken: Cancelled);
        return Assert.Single(all.Breakers, breaker => breaker.Bundle == failure.Bundle && breaker.Group == Surface);
    }

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    private async Task<FilterResponse?> UntilAsync(Predicate<FilterResponse?> wanted, FilterRequest request)
    {
        for (var attempt = 0; attempt < MostAttempts; attempt++)
        {
            // Shed is who comes while another has the only place. It may be too early or too late for that; then another try is due.
            var holding = failure == MatrixFailure.Shed && (Known is not null || mode != MatrixMode.Remembered)
                ? sidecar.Wire.FilterAsync(Wire.Page($"{Surface}-{attempt}", FailureMatrix.Holder, "Ten quiet walks"))
                : null;
            var response = await AskAsync(request);
            if (holding is not null)
            {
                await holding;
            }

            if (wanted(response))
            {
                return response;
            }
        }

        Assert.Fail($"Of {MostAttempts} pages on {Surface} none was as expected.");
        return null;
    }

    private async Task<FilterResponse?> AskAsync(FilterRequest request)
    {
        Asked++;
        FilterResponse response;
        try
        {
            response = await sidecar.Wire.FilterAsync(request);
        }
        catch (RpcException refused) when (mode.IsRefused && refused.StatusCode == StatusCode.Unavailable)
        {
            (Failed, Refused, _refusal) = (Failed + 1, Refused + 1, refused.Status);
            return null;
        }

        Failed += response.Degradations.Count > 0 ? 1 : 0;
        foreach (var mark in response.Degradations)
        {
            var key = (response.Classifiers[(int)mark.ClassifierIndex].Name, mark.Failure, mark.FailMode);
            CollectionsMarshal.GetValueRefOrAddDefault(_marks, key, out _) += mark.CandidateIndexes.Count == 0 ? Candidates : mark.CandidateIndexes.Count;
        }

        return response;
    }

    private FilterRequest Request(bool isWhole)
    {
        var request = Wire.Page(Surface, Surface, "Ten quiet walks", "A bicycle tyre");
        request.Tensors.Add(Pages.Shorts("x", Pages.Embeddings(seed: 1, count: Candidates)).Tensors[0]);
        for (var row = 0; row < Candidates; row++)
        {
            request.CandidateIds[row] = $"video:{Surface}-{row}";
            if (mode == MatrixMode.Remembered)
            {
                request.ContentVersions.Add("v1");
            }
        }

        if (!isWhole && failure == MatrixFailure.Missing)
        {
            request.Tensors[0].Missing.Add(Candidates - 1);
        }
        else if (!isWhole)
        {
            // Half as wide as the model reads.
            request.Tensors[0].Shape[1] /= 2;
            request.Tensors[0].Data = ByteString.CopyFrom(request.Tensors[0].Data.Span[..(request.Tensors[0].Data.Length / 2)]);
        }

        return request;
    }
}
