using SafetyFilter.V1;

namespace SafetyFilter.Client;

/// <summary>The row of the candidate added last. Setting a name twice keeps the last value.</summary>
/// <remarks>
/// A text or tensor that other rows have and this one lacks is marked missing, so that the classifiers that read it fail for
/// this candidate and its surface's fail mode applies. A lacking attribute is the empty string, NaN or false.
/// </remarks>
public readonly ref struct CandidateRow
{
    private readonly FilterQuery _query;
    private readonly int _row;

    internal CandidateRow(FilterQuery query, int row)
    {
        _query = query;
        _row = row;
    }

    /// <summary>A text feature, named as model manifests say it, e.g. <c>text</c>. At most 16384 bytes of UTF-8.</summary>
    /// <exception cref="InvalidOperationException">Another row was added since.</exception>
    public CandidateRow Text(string name, string value)
    {
        ArgumentNullException.ThrowIfNull(value);
        _query.SetText(_row, name, value);
        return this;
    }

    /// <summary>A numeric feature as float32, e.g. <c>embedding</c>; copied. All numbers finite.</summary>
    /// <exception cref="ArgumentException">Empty, or not as long or not of the type of the rows before.</exception>
    /// <exception cref="InvalidOperationException">Another row was added since.</exception>
    public CandidateRow Tensor(string name, ReadOnlySpan<float> values)
    {
        _query.SetTensor(_row, name, values, DataType.Float32);
        return this;
    }

    /// <summary>A numeric feature as float16: half the bytes; copied. The sidecar widens it exactly.</summary>
    /// <exception cref="ArgumentException">Empty, or not as long or not of the type of the rows before.</exception>
    /// <exception cref="InvalidOperationException">Another row was added since.</exception>
    public CandidateRow Tensor(string name, ReadOnlySpan<Half> values)
    {
        _query.SetTensor(_row, name, values, DataType.Float16);
        return this;
    }

    /// <summary>A fact that rules can read, as a string of at most 256 bytes.</summary>
    /// <exception cref="ArgumentException">Earlier rows gave it another kind.</exception>
    /// <exception cref="InvalidOperationException">Another row was added since.</exception>
    public CandidateRow Attribute(string name, string value)
    {
        ArgumentNullException.ThrowIfNull(value);
        _query.SetString(_row, name, value);
        return this;
    }

    /// <summary>A fact that rules can read, as a number; NaN means unknown.</summary>
    /// <exception cref="ArgumentException">Earlier rows gave it another kind.</exception>
    /// <exception cref="InvalidOperationException">Another row was added since.</exception>
    public CandidateRow Attribute(string name, double value)
    {
        _query.SetNumber(_row, name, value);
        return this;
    }

    /// <summary>A fact that rules can read, as a flag.</summary>
    /// <exception cref="ArgumentException">Earlier rows gave it another kind.</exception>
    /// <exception cref="InvalidOperationException">Another row was added since.</exception>
    public CandidateRow Attribute(string name, bool value)
    {
        _query.SetFlag(_row, name, value);
        return this;
    }
}
