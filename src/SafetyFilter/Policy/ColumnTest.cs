using System.Collections.Immutable;
using System.Runtime.InteropServices;
using System.Text;
using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>One comparison of a policy, evaluated over all candidates at once and at most once per request.</summary>
internal abstract class ColumnTest
{
    /// <summary>Writes one bit per candidate; bits past the last candidate stay clear.</summary>
    public abstract void Match(CandidateBatch batch, ScoreTable scores, DecisionScratch scratch, Span<ulong> bits);
}

internal sealed class ScoreColumnTest(int slot, ScoreTest test, FailMode fail) : ColumnTest
{
    private readonly bool _matchesWhenMissing = test.Matches(fail == FailMode.Closed ? 1f : 0f);

    public int Slot => slot;

    public ScoreTest Test => test;

    public override void Match(CandidateBatch batch, ScoreTable scores, DecisionScratch scratch, Span<ulong> bits)
    {
        // The interval lies within 0..1, so a cell that is no score is outside of it.
        ColumnKernel.InRange(scores.Row(slot), test.Low, test.High, bits);
        if (!_matchesWhenMissing || !scratch.HasMissing(slot))
        {
            return;
        }

        // Instead of writing the substituted score into a copy of the row: its outcome is the same for every candidate.
        var missing = scratch.Missing(slot);
        for (var w = 0; w < bits.Length; w++)
        {
            bits[w] |= missing[w];
        }
    }
}

internal sealed class StringColumnTest(int attribute, Utf8Set values) : ColumnTest
{
    public override void Match(CandidateBatch batch, ScoreTable scores, DecisionScratch scratch, Span<ulong> bits)
    {
        bits.Clear();
        if (scratch.Attribute(attribute) is { } column)
        {
            var slices = column.Strings.Slices;
            for (var i = 0; i < slices.Length; i++)
            {
                if (values.Contains(batch[slices[i]]))
                {
                    Bitmap.Set(bits, i);
                }
            }
        }
    }
}

internal sealed class NumberColumnTest(int attribute, double low, double high) : ColumnTest
{
    public static NumberColumnTest From(int attribute, Bounds bounds) => new(
        attribute,
        bounds.LowIsExclusive ? Math.BitIncrement(bounds.Low!.Value) : bounds.Low ?? double.NegativeInfinity,
        bounds.HighIsExclusive ? Math.BitDecrement(bounds.High!.Value) : bounds.High ?? double.PositiveInfinity);

    public override void Match(CandidateBatch batch, ScoreTable scores, DecisionScratch scratch, Span<ulong> bits)
    {
        if (scratch.Attribute(attribute) is { } column)
        {
            ColumnKernel.InRange(CollectionsMarshal.AsSpan(column.Numbers), low, high, bits);
        }
        else
        {
            bits.Clear();
        }
    }
}

internal sealed class FlagColumnTest(int attribute, bool expected) : ColumnTest
{
    public override void Match(CandidateBatch batch, ScoreTable scores, DecisionScratch scratch, Span<ulong> bits)
    {
        if (scratch.Attribute(attribute) is { } column)
        {
            var flags = MemoryMarshal.Cast<bool, byte>(CollectionsMarshal.AsSpan(column.Flags));
            ColumnKernel.InRange(flags, expected ? (byte)1 : (byte)0, expected ? byte.MaxValue : (byte)0, bits);
        }
        else
        {
            bits.Clear();
        }
    }
}

/// <summary>RFC 4647 basic filtering: `de` matches de, de-CH and DE; the empty range matches the empty (unknown) tag.</summary>
internal sealed class LanguageColumnTest(IEnumerable<string> ranges) : ColumnTest
{
    private readonly ImmutableArray<byte[]> _ranges = [.. ranges.Select(Encoding.UTF8.GetBytes)];

    public override void Match(CandidateBatch batch, ScoreTable scores, DecisionScratch scratch, Span<ulong> bits)
    {
        var tags = batch.Languages.Slices;
        if (tags.IsEmpty)
        {
            ColumnKernel.Fill(Matches(default), batch.Count, bits);
            return;
        }

        bits.Clear();
        for (var i = 0; i < tags.Length; i++)
        {
            if (Matches(batch[tags[i]]))
            {
                Bitmap.Set(bits, i);
            }
        }
    }

    private bool Matches(ReadOnlySpan<byte> tag)
    {
        foreach (var range in _ranges)
        {
            var length = range.Length;
            if (tag.Length == length
                ? Ascii.EqualsIgnoreCase(tag, range)
                : length > 0 && tag.Length > length && tag[length] == '-' && Ascii.EqualsIgnoreCase(tag[..length], range))
            {
                return true;
            }
        }

        return false;
    }
}

/// <summary>Says the same for all candidates. Territories compare without regard to case, the other fields byte by byte.</summary>
internal sealed class ViewerColumnTest(ViewerField field, IEnumerable<string> values) : ColumnTest
{
    private readonly ImmutableArray<byte[]> _values = [.. values.Select(Encoding.UTF8.GetBytes)];

    public override void Match(CandidateBatch batch, ScoreTable scores, DecisionScratch scratch, Span<ulong> bits)
    {
        var actual = batch[field switch
        {
            ViewerField.Territory => batch.Territory,
            ViewerField.AgeBand => batch.AgeBand,
            _ => batch.Experiment,
        }];
        var found = false;
        foreach (var value in _values)
        {
            found |= field == ViewerField.Territory ? Ascii.EqualsIgnoreCase(actual, value) : actual.SequenceEqual(value);
        }

        ColumnKernel.Fill(found, batch.Count, bits);
    }
}
