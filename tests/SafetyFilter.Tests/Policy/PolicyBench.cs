using System.Text;
using SafetyFilter.Decisions;
using SafetyFilter.Policy;

namespace SafetyFilter.Tests.Policy;

/// <summary>Short ways to write policies and requests in tests.</summary>
internal static class PolicyBench
{
    public static readonly DateTimeOffset Now = new(2026, 6, 1, 12, 0, 0, TimeSpan.Zero);

    public static PolicyCompilation Compile(string yaml, IReadOnlyDictionary<string, ClassifierTerms>? known = null) =>
        PolicyCompiler.Compile([new PolicySource("p.yaml", yaml)], known);

    /// <summary>The only surface of a policy that must be right.</summary>
    public static SurfacePolicy Single(string yaml)
    {
        var (snapshot, errors) = Compile(yaml);
        Assert.Empty(errors);
        return Assert.Single(snapshot!.Surfaces);
    }

    /// <summary>A policy of these rules over classifiers m/a (fails closed) and m/b (fails open).</summary>
    public static SurfacePolicy Rules(string rules, string match = "strongest") => Single($$"""
        policy: p
        owner: team
        surfaces: [s]
        match: {{match}}
        classifiers: { m/a: { fail: closed }, m/b: { fail: open } }
        rules:
        {{rules}}
        """);

    /// <summary>A policy of one blocking rule with this condition.</summary>
    public static SurfacePolicy When(string condition) => Rules($"- {{ id: r, when: {condition}, action: block, reason: R }}");

    public static Verdicts Decide(this SurfacePolicy policy, Request request, DateTimeOffset? now = null)
    {
        var verdicts = new Verdicts();
        policy.Decide(request.Batch, request.ScoresFor(policy), (now ?? Now).ToUnixTimeMilliseconds(), verdicts);
        return verdicts;
    }

    public static CandidateAction[] Actions(this SurfacePolicy policy, Request request) => policy.Decide(request).Actions.ToArray();

    public static string DecidingRule(this SurfacePolicy policy, Request request) => policy.Rules[policy.Decide(request).Rules[0]].Id;
}

/// <summary>A request under construction: its columns, and a row of scores per classifier name.</summary>
internal sealed class Request
{
    private readonly Dictionary<string, float[]> _scores = new(StringComparer.Ordinal);

    public Request(int count)
    {
        for (var i = 0; i < count; i++)
        {
            Batch.Ids.Add(Add($"c{i}"));
        }
    }

    public CandidateBatch Batch { get; } = new();

    public static Request Of(params (string Classifier, float[] Row)[] rows)
    {
        var request = new Request(rows[0].Row.Length);
        foreach (var (classifier, row) in rows)
        {
            request._scores.Add(classifier, row);
        }

        return request;
    }

    /// <summary>A row of scores; NaN becomes a failure, classifiers without a row score 0.</summary>
    public Request Scores(string classifier, params float[] row)
    {
        _scores[classifier] = row;
        return this;
    }

    public Request Strings(string name, params string[] values)
    {
        var column = Column(name, AttributeKind.Strings);
        foreach (var value in values)
        {
            column.Strings.Add(Add(value));
        }

        return this;
    }

    public Request Numbers(string name, params double[] values)
    {
        Column(name, AttributeKind.Numbers).Numbers.AddRange(values);
        return this;
    }

    public Request Flags(string name, params bool[] values)
    {
        Column(name, AttributeKind.Flags).Flags.AddRange(values);
        return this;
    }

    public Request Languages(params string[] tags)
    {
        foreach (var tag in tags)
        {
            Batch.Languages.Add(Add(tag));
        }

        return this;
    }

    public Request Viewer(string territory = "", string ageBand = "", string experiment = "")
    {
        (Batch.Territory, Batch.AgeBand, Batch.Experiment) = (Add(territory), Add(ageBand), Add(experiment));
        return this;
    }

    public ScoreTable ScoresFor(SurfacePolicy policy)
    {
        var table = new ScoreTable();
        table.Reset(policy.Classifiers.Length, Batch.Count);
        for (var slot = 0; slot < policy.Classifiers.Length; slot++)
        {
            table.Row(slot).Clear();
            var row = _scores.GetValueOrDefault(policy.Classifiers[slot].Name, []);
            for (var i = 0; i < row.Length; i++)
            {
                table.Row(slot)[i] = row[i];
                if (float.IsNaN(row[i]))
                {
                    table.Fail(slot, i, FailureKind.Error);
                }
            }
        }

        return table;
    }

    private AttributeColumn Column(string name, AttributeKind kind)
    {
        var column = Batch.AddAttribute();
        (column.Name, column.Kind) = (Add(name), kind);
        return column;
    }

    private ByteSlice Add(string text)
    {
        var start = Batch.Buffer.Length;
        Batch.Buffer = [.. Batch.Buffer, .. Encoding.UTF8.GetBytes(text)];
        return new ByteSlice(start, Batch.Buffer.Length - start);
    }
}
