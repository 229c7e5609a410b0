using SafetyFilter.Sidecar.Reload;
using SafetyFilter.Tests.Filtering;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Sidecar.Reload;

public sealed class ChangeEffectTests : IDisposable
{
    private static readonly string Old = Policy("0.9");

    private readonly EngineBench _bench = new(Old);

    public void Dispose() => _bench.Dispose();

    [Fact]
    public void Of_ALowerThreshold_CountsTheCandidatesThatItCatches()
    {
        // Scores of alpha: 0.98, 0.5 and 0.02.
        _bench.Decided(static request => request.Tensor("embedding", [1f, 0], [0f, 0], [0f, 2]), candidates: 3);
        _bench.Decided(static request => request.Tensor("embedding", [1f, 0]));

        var effect = Effect(Policy("0.4"));

        Assert.Equal(new ChangeEffect(2, 4, Stricter: 1, 0, 0, 0), effect);
        Assert.Equal(0.25, effect!.ChangedShare);
    }

    [Fact]
    public void Of_AHigherThreshold_IsLaxer()
    {
        _bench.Decided(static request => request.Tensor("embedding", [1f, 0]));
        Assert.Equal(new ChangeEffect(1, 1, 0, Laxer: 1, 0, 0), Effect(Policy("1")));
    }

    [Fact]
    public void Of_ThePolicyReadsWhatNoRecordHas_CannotTell()
    {
        _bench.Decided(static request => request.Tensor("embedding", [1f, 0]));
        var other = EngineBench.Policy("{ roots/gamma: { fail: open } }", """

              - { id: by-gamma, when: { score: roots/gamma, at_least: 0.9 }, action: block, reason: G }
            """);
        Assert.Equal(new ChangeEffect(0, 0, 0, 0, 0, NotRecomputable: 1), Effect(other));
    }

    [Fact]
    public void Of_DecisionsOfAnEarlierPolicy_AreNotItsOwn()
    {
        _bench.Decided(static request => request.Tensor("embedding", [0f, 0]));
        var current = _bench.Compile(Policy("0.4"));

        // What changed with the policy in between is not told again.
        Assert.Equal(new ChangeEffect(0, 0, 0, 0, 0, 0), ChangeEffect.Of(current, _bench.Compile(Policy("0.39")), _bench.Recent, DateTimeOffset.UnixEpoch));
    }

    [Fact]
    public void Of_TheSamePolicies_IsNone() => Assert.Null(Effect(Old + "\n# a comment"));

    private ChangeEffect? Effect(string proposed) =>
        ChangeEffect.Of(_bench.Compile(Old), _bench.Compile(proposed), _bench.Recent, new DateTimeOffset(2026, 6, 1, 0, 0, 0, TimeSpan.Zero));

    private static string Policy(string threshold) => EngineBench.Policy("{ numbers/alpha: { fail: open } }", $$"""

          - { id: by-alpha, when: { score: numbers/alpha, at_least: {{threshold}} }, action: block, reason: A }
        """);
}
