using System.Runtime.InteropServices;
using System.Text;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Filtering;

/// <summary>An invented request that has every feature a plan's bundles read.</summary>
internal static class Rehearsal
{
    /// <summary>Enough for the runtime to see that the code is hot (it counts 30 calls) and compile it again, optimised.</summary>
    public const int Rounds = 40;

    /// <summary>Of a page.</summary>
    public const int Candidates = 64;

    private static readonly byte[] Text = "An invented caption of about sixty characters, as rankers send"u8.ToArray();

    public static void Fill(CandidateBatch batch, SurfacePlan plan, int candidates = Candidates)
    {
        batch.Reset();
        var buffer = new List<byte>();
        batch.RequestId = Append(buffer, "rehearsal"u8);
        batch.Surface = Append(buffer, Encoding.UTF8.GetBytes(plan.Terms.Surface));
        batch.Purpose = Append(buffer, Encoding.UTF8.GetBytes(plan.Policy.Purposes[0]));
        var id = Append(buffer, "candidate"u8);
        for (var i = 0; i < candidates; i++)
        {
            batch.Ids.Add(id);
            batch.ContentVersions.Add(id);
        }

        foreach (var feature in plan.Steps.SelectMany(static step => step.Bundle.Bundle.Manifest.Features).DistinctBy(static feature => feature.Feature))
        {
            var name = Append(buffer, Encoding.UTF8.GetBytes(feature.Feature));
            if (feature is TensorFeatureSpec tensor)
            {
                AddTensor(batch, buffer, name, tensor, candidates);
            }
            else
            {
                AddText(batch, name, Append(buffer, Text), candidates);
            }
        }

        batch.Buffer = [.. buffer];
    }

    private static void AddText(CandidateBatch batch, ByteSlice name, ByteSlice text, int candidates)
    {
        var column = batch.AddText();
        column.Name = name;
        for (var i = 0; i < candidates; i++)
        {
            column.Values.Add(text);
        }
    }

    private static void AddTensor(CandidateBatch batch, List<byte> buffer, ByteSlice name, TensorFeatureSpec feature, int candidates)
    {
        var column = batch.AddTensor();
        column.Name = name;
        column.DataType = DataType.Float32;
        column.Rows = candidates;
        column.RowShape.AddRange(feature.Shape);
        column.RowLength = (int)feature.Shape.Aggregate(1L, static (product, dimension) => product * dimension);

        // Zeros, unless the model was not made for them.
        var numbers = new float[candidates * column.RowLength];
        numbers.AsSpan().Fill(Math.Clamp(0, feature.Min, feature.Max));
        column.Data = Append(buffer, MemoryMarshal.AsBytes<float>(numbers));
    }

    private static ByteSlice Append(List<byte> buffer, ReadOnlySpan<byte> bytes)
    {
        var slice = new ByteSlice(buffer.Count, bytes.Length);
        buffer.AddRange(bytes);
        return slice;
    }
}
