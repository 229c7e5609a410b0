using System.Collections.Immutable;
using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>
/// A rule's condition in postfix form over the policy's tests. It runs on words of 64 candidates to find matches, and on single
/// candidates to find margins; both need a stack only as deep as conditions may be nested.
/// </summary>
/// <param name="code">Test indexes, or one of the operators below.</param>
internal sealed class RuleProgram(ImmutableArray<short> code)
{
    /// <summary>More than the nesting that the parser lets through (one operand waits per level, and one is being read).</summary>
    public const int StackSize = 24;

    public const short And = -1;
    public const short Or = -2;
    public const short Not = -3;
    public const short True = -4;

    public ReadOnlySpan<short> Code => code.AsSpan();

    /// <summary>The 64 candidates of one word that match; bits past the last candidate are undefined.</summary>
    public ulong Match(ReadOnlySpan<ulong> tests, int words, int word)
    {
        Span<ulong> stack = stackalloc ulong[StackSize];
        var top = -1;
        foreach (var op in code)
        {
            switch (op)
            {
                case And:
                    stack[top - 1] &= stack[top];
                    top--;
                    break;
                case Or:
                    stack[top - 1] |= stack[top];
                    top--;
                    break;
                case Not:
                    stack[top] = ~stack[top];
                    break;
                case True:
                    stack[++top] = ulong.MaxValue;
                    break;
                default:
                    stack[++top] = tests[op * words + word];
                    break;
            }
        }

        return stack[0];
    }

    /// <summary>
    /// How far scores may move until the rule's outcome for this candidate changes: the quantitative reading of a Boolean formula
    /// (and = minimum, or = maximum, not = negation), with conditions that compare no score infinitely far from changing. NaN when
    /// no score decides, or when a score that the rule reads was substituted.
    /// </summary>
    public float Margin(ImmutableArray<ColumnTest> tests, ScoreTable scores, DecisionScratch scratch, int candidate)
    {
        Span<float> stack = stackalloc float[StackSize];
        var top = -1;
        foreach (var op in code)
        {
            switch (op)
            {
                case And:
                    stack[top - 1] = MathF.Min(stack[top - 1], stack[top]);
                    top--;
                    break;
                case Or:
                    stack[top - 1] = MathF.Max(stack[top - 1], stack[top]);
                    top--;
                    break;
                case Not:
                    stack[top] = -stack[top];
                    break;
                case True:
                    stack[++top] = float.PositiveInfinity;
                    break;
                default:
                    if (tests[op] is not ScoreColumnTest score)
                    {
                        var holds = Bitmap.Get(scratch.Tests.Slice(op * scratch.Words, scratch.Words), candidate);
                        stack[++top] = holds ? float.PositiveInfinity : float.NegativeInfinity;
                    }
                    else if (scores.IsIncomplete(score.Slot) && scores.Failures(score.Slot)[candidate] != FailureKind.None)
                    {
                        return float.NaN;
                    }
                    else if (scratch.HasMissing(score.Slot) && Bitmap.Get(scratch.Missing(score.Slot), candidate))
                    {
                        return float.NaN;
                    }
                    else
                    {
                        stack[++top] = score.Test.Margin(scores.Row(score.Slot)[candidate]);
                    }

                    break;
            }
        }

        return float.IsFinite(stack[0]) ? stack[0] : float.NaN;
    }
}
