using System.Reflection;
using BenchmarkDotNet.Running;

namespace SafetyFilter.Benchmarks.Budgets;

/// <summary>
/// Runs the very bodies that BenchmarkDotNet times and counts what they allocate, which is exact and the same in every run, and needs none of its
/// minutes.
/// </summary>
internal static class BodyMeasure
{
    private const int Operations = 2_000;
    private const int WarmUps = 3;
    private const int WarmUpOperations = 200;

    // Compiled again in the background once calls have paused for 100 ms; code of the first tier may allocate where the last does not.
    private static readonly TimeSpan BetweenWarmUps = TimeSpan.FromMilliseconds(150);

    // A spool brings records to the disk every 100 ms and then signs what came: the process pays for that too.
    private static readonly TimeSpan ForOtherThreads = TimeSpan.FromMilliseconds(250);

    public static Allocations Of(BenchmarkCase benchmark)
    {
        var descriptor = benchmark.Descriptor;
        var instance = Activator.CreateInstance(descriptor.Type)!;
        foreach (var parameter in benchmark.Parameters.Items)
        {
            descriptor.Type.GetProperty(parameter.Name)!.SetValue(instance, parameter.Value);
        }

        Call(descriptor.GlobalSetupMethod, instance);
        try
        {
            return Count(descriptor.WorkloadMethod.CreateDelegate<Func<int>>(instance));
        }
        finally
        {
            Call(descriptor.GlobalCleanupMethod, instance);
        }
    }

    private static Allocations Count(Func<int> body)
    {
        for (var warmUp = 0; warmUp < WarmUps; warmUp++)
        {
            Run(body, WarmUpOperations);
            Thread.Sleep(BetweenWarmUps);
        }

        var process = GC.GetTotalAllocatedBytes(precise: true);
        var thread = GC.GetAllocatedBytesForCurrentThread();
        Run(body, Operations);
        thread = GC.GetAllocatedBytesForCurrentThread() - thread;
        Thread.Sleep(ForOtherThreads);
        return new Allocations(
            (double)thread / Operations,
            (double)(GC.GetTotalAllocatedBytes(precise: true) - process) / Operations);
    }

    private static void Run(Func<int> body, int operations)
    {
        for (var i = 0; i < operations; i++)
        {
            if (body() == 0)
            {
                throw new InvalidOperationException($"{body.Method.Name} did nothing.");
            }
        }
    }

    private static void Call(MethodInfo? method, object instance) => method?.CreateDelegate<Action>(instance)();
}
