using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;
using SafetyFilter.Sidecar.Grpc;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>
/// <c>service-floor-ort</c>: ONNX Runtime in this process on the workload's own batches, and nothing else: the sidecar's session options, inputs
/// read, featurised and bound beforehand. What a run costs here is what the model costs.
/// </summary>
/// <remarks>Reads a line per slice, <c>RATE SECONDS</c> with a rate of 0 for as fast as it goes, and answers each with <see cref="OrtRuns"/>.</remarks>
internal static class OrtFloor
{
    public const string Name = "service-floor-ort";
    public const string Ready = "ready";

    // Inputs that stay in a core's cache, as they are when they have just been received.
    private const int MostInputBytes = 1 << 20;
    private const int FewestBatches = 4;

    public static Command Create()
    {
        var workload = new Option<string>("--workload") { Required = true };
        var models = new Option<string>("--models") { Required = true };
        var seed = new Option<ulong>("--seed") { Required = true };
        var command = new Command(Name, "The ONNX Runtime floor of 'service', which starts it.") { workload, models, seed };
        command.Hidden = true;
        command.SetAction(parsed =>
        {
            using var bound = new BoundBatches(parsed.GetRequiredValue(models), Workload.Named(parsed.GetRequiredValue(workload))!, parsed.GetValue(seed));
            Schedule.WakeThisThreadSharply();
            while (Console.ReadLine() is { } line)
            {
                var words = line.Split(' ');
                Console.WriteLine(line == Ready
                    ? Ready
                    : JsonSerializer.Serialize(bound.Run(Number(words[0]), TimeSpan.FromSeconds(Number(words[1])))));
            }
        });
        return command;
    }

    private static double Number(string word) => double.Parse(word, CultureInfo.InvariantCulture);

    private sealed class BoundBatches : IDisposable
    {
        private readonly List<(InferenceSession Session, RunScratch[] Batches)> _models = [];
        private readonly int _batches;

        public BoundBatches(string models, Workload workload, ulong seed)
        {
            using var set = ClassifierSet.Load(models, BundleLimits.Default, TimeProvider.System).Value
                ?? throw new InvalidOperationException($"The models in {models} do not load.");
            var pool = new RequestPool(new ItemSet(models, seed), workload, seed);
            _batches = Math.Clamp(MostInputBytes / pool.Requests[0].Length, FewestBatches, pool.Requests.Length);
            var batches = pool.Requests.Take(_batches).Select(Read).ToArray();
            foreach (var bundle in set.Bundles.Where(bundle => workload.Bundles.Contains(bundle.Name)))
            {
                using var options = SessionSettings.Create();
                var session = new InferenceSession(Path.Combine(bundle.Folder, ManifestReader.ModelFile), options);
                _models.Add((session, [.. batches.Select(batch => Bind(session, bundle.Manifest, batch))]));
            }
        }

        /// <summary>Runs all models on batch after batch.</summary>
        /// <param name="rate">Batches per second; 0 for one after the other.</param>
        public OrtRuns Run(double rate, TimeSpan length)
        {
            var start = Stopwatch.GetTimestamp();
            var schedule = new Schedule(start, rate, length);
            var nanos = new List<long>();
            var cpu = 0L;
            while (rate > 0 ? nanos.Count < schedule.Count : Stopwatch.GetElapsedTime(start) < length)
            {
                if (rate > 0)
                {
                    Schedule.SleepUntil(schedule.Due(nanos.Count));
                }

                var batch = nanos.Count % _batches;
                var cpuBefore = CpuClock.OfThisThread();
                var before = Stopwatch.GetTimestamp();
                foreach (var (session, batches) in _models)
                {
                    session.RunWithBinding(batches[batch].Options, batches[batch].Binding);
                }

                nanos.Add((long)Stopwatch.GetElapsedTime(before).TotalNanoseconds);
                cpu += CpuClock.OfThisThread() - cpuBefore;
            }

            return new OrtRuns(nanos, cpu, (long)Stopwatch.GetElapsedTime(start).TotalNanoseconds);
        }

        public void Dispose()
        {
            foreach (var (session, batches) in _models)
            {
                foreach (var batch in batches)
                {
                    batch.Dispose();
                }

                session.Dispose();
            }
        }

        private static CandidateBatch Read(byte[] request)
        {
            var batch = new CandidateBatch { Buffer = request };
            return FilterRequestReader.Read(batch, request.Length, new RequestLimits()) is { } refusal
                ? throw new InvalidOperationException(refusal.Message)
                : batch;
        }

        private static RunScratch Bind(InferenceSession session, BundleManifest manifest, CandidateBatch batch)
        {
            var scratch = new RunScratch(session, manifest);
            scratch.Fill(batch, []);
            return scratch;
        }
    }
}

/// <summary>What the ORT floor did in a slice, in nanoseconds: each run, the CPU time of them all, and from the first to the last.</summary>
internal sealed record OrtRuns(List<long> Runs, long Cpu, long Elapsed);
