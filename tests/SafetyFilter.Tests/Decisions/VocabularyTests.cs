using System.Globalization;
using SafetyFilter.Decisions;
using Recorded = SafetyFilter.Lineage.V1.DecisionRecord.Types;

namespace SafetyFilter.Tests.Decisions;

/// <summary>The vocabulary is cast to wire values on the hot path, so each value must be the same in both contracts.</summary>
public sealed class VocabularyTests
{
    [Fact]
    public void CandidateAction_EveryValue_IsTheWireValue()
    {
        Same<CandidateAction, V1.Action>();
        Same<CandidateAction, Recorded.Action>();
    }

    [Fact]
    public void Basis_EveryValue_IsTheWireValue()
    {
        Same<Basis, V1.Basis>();
        Same<Basis, Recorded.Basis>();
    }

    [Fact]
    public void FailureKind_EveryValue_IsTheWireValue()
    {
        Same<FailureKind, V1.FailureKind>();
        Same<FailureKind, Recorded.FailureKind>();
    }

    [Fact]
    public void FailMode_EveryValue_IsTheWireValue()
    {
        Same<FailMode, V1.FailMode>();
        Same<FailMode, Recorded.FailMode>();
    }

    [Fact]
    public void BudgetBound_EveryValue_IsTheWireValue()
    {
        Same<BudgetBound, V1.BudgetBound>();
        Same<BudgetBound, Recorded.BudgetBound>();
    }

    [Fact]
    public void Severity_EveryValue_IsTheWireValue()
    {
        Same<Severity, V1.Severity>();
        Same<Severity, Recorded.Severity>();
    }

    [Fact]
    public void BreakerState_EveryValue_IsTheWireValue() => Same<BreakerState, Recorded.BreakerState>();

    [Fact]
    public void Durability_EveryValue_IsTheWireValue() => Same<Durability, V1.Durability>();

    [Fact]
    public void DataType_EveryValue_IsTheWireValue() => Same<DataType, V1.DataType>();

    // Names are compared too: generated names are ours without the enum's prefix. 0 is "unspecified" on the wire.
    private static void Same<TOurs, TWire>()
        where TOurs : struct, Enum
        where TWire : struct, Enum
    {
        var ours = Enum.GetValues<TOurs>().Select(static value => (Convert.ToInt32(value, CultureInfo.InvariantCulture), value.ToString())).Where(static pair => pair.Item1 != 0);
        var wire = Enum.GetValues<TWire>().Select(static value => (Convert.ToInt32(value, CultureInfo.InvariantCulture), value.ToString())).Where(static pair => pair.Item1 != 0);
        Assert.Equal(wire, ours);
    }
}
