using System.Diagnostics;
using Grpc.Core;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;

namespace SafetyFilter.Cli.Demo;

/// <summary>One question and what the client saw of it.</summary>
/// <param name="Items">What was asked about, in the order of the ranks.</param>
/// <param name="Result">Null when the call failed with <paramref name="Error"/>.</param>
internal sealed record Answer(string RequestId, string Surface, CatalogueItem[] Items, FilterResult? Result, RpcException? Error, TimeSpan RoundTrip);

/// <summary>Everything the client saw, kept to be held against the ledger. Thread-safe.</summary>
internal sealed class AnswerLog
{
    private readonly List<Answer> _answers = [];

    public IReadOnlyList<Answer> All => _answers;

    public void Add(Answer answer)
    {
        lock (_answers)
        {
            _answers.Add(answer);
        }
    }
}

/// <summary>Asks page after page, each caller waiting for its answer before it asks again.</summary>
internal static class TrafficPlayer
{
    /// <param name="seen">Called for every answer, one at a time.</param>
    public static async Task PlayAsync(
        SafetyFilterClient client, Ranker ranker, AnswerLog log, int requests, int callers, Action<int, Answer> seen, CancellationToken cancellationToken)
    {
        var next = -1;
        var gate = new Lock();
        await Task.WhenAll(Enumerable.Range(0, callers).Select(_ => Task.Run(CallAsync, cancellationToken)));

        async Task CallAsync()
        {
            var page = new Page();
            int number;
            while ((number = Interlocked.Increment(ref next)) < requests)
            {
                ranker.Compose(page, number);
                var answer = await AskAsync(client, page, log, cancellationToken);
                lock (gate)
                {
                    seen(number, answer);
                }
            }
        }
    }

    public static async Task<Answer> AskAsync(SafetyFilterClient client, Page page, AnswerLog log, CancellationToken cancellationToken)
    {
        CatalogueItem[] items = [.. page.Items];
        var requestId = page.Query.RequestId;
        var start = Stopwatch.GetTimestamp();
        Answer answer;
        try
        {
            var result = await client.FilterAsync(page.Query, cancellationToken);
            answer = new Answer(requestId, page.Surface.Name, items, result, Error: null, Stopwatch.GetElapsedTime(start));
        }
        catch (RpcException error) when (!cancellationToken.IsCancellationRequested)
        {
            answer = new Answer(requestId, page.Surface.Name, items, Result: null, error, Stopwatch.GetElapsedTime(start));
        }

        log.Add(answer);
        return answer;
    }
}
