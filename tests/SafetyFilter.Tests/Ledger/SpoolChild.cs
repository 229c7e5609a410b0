using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger;

/// <summary>
/// This test program as a process of its own that appends to a spool, to be killed or to be given a failing disk. Runs
/// before the test runner's entry point when the environment asks for it; being a module initialiser it must not let other
/// threads run code of this assembly.
/// </summary>
internal static class SpoolChild
{
    private const string Mode = "SAFETYFILTER_SPOOL_CHILD";
    private const string Folder = "SAFETYFILTER_SPOOL_FOLDER";

    /// <summary>Appends without end and writes the sequence of each record, 8 bytes, after it was acknowledged.</summary>
    public const string AppendUntilKilled = "append";

    /// <summary>Appends 20 records, waits for each to become durable, and tells what the spool says of the disk.</summary>
    public const string AppendDurably = "sync";

    public static ProcessStartInfo StartInfo(string mode, string folder, params string[] wrapper)
    {
        string[] command = [.. wrapper, Path.Combine(AppContext.BaseDirectory, "SafetyFilter.Tests")];
        return new ProcessStartInfo(command[0], command[1..])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            Environment = { [Mode] = mode, [Folder] = folder },
        };
    }

    [ModuleInitializer]
    internal static void Run()
    {
        var mode = Environment.GetEnvironmentVariable(Mode);
        if (mode is null)
        {
            return;
        }

        var options = new SpoolOptions
        {
            Folder = Environment.GetEnvironmentVariable(Folder)!,
            SegmentBytes = 1 << 20,
            MaxRecordBytes = 64 << 10,
            SyncInterval = TimeSpan.FromMilliseconds(20),
            AppendPatience = TimeSpan.FromSeconds(30),
        };
        using var output = Console.OpenStandardOutput();
        var signing = new SigningOptions { CheckpointRecords = 100 };
        using (var spool = Spool.Open(options, "child", TimeProvider.System, signing: signing))
        {
            if (mode == AppendDurably)
            {
                Durably(spool);
            }
            else
            {
                UntilKilled(spool, output);
            }
        }

        Environment.Exit(0);
    }

    private static void UntilKilled(Spool spool, Stream output)
    {
        Span<byte> acknowledged = stackalloc byte[sizeof(ulong)];
        for (var index = 0; ; index++)
        {
            var body = LedgerFolder.Body(spool, $"r{index}", length: index * 131 % 20_000);
            if (spool.Append(RecordType.Decision, body, out var receipt) != AppendResult.Appended)
            {
                Environment.Exit(3);
            }

            BinaryPrimitives.WriteUInt64LittleEndian(acknowledged, receipt.Sequence);
            output.Write(acknowledged);
            output.Flush();
        }
    }

    private static void Durably(Spool spool)
    {
        for (var index = 0; index < 20; index++)
        {
            spool.Append(RecordType.Decision, LedgerFolder.Body(spool, $"r{index}"), out var receipt);
            var since = Stopwatch.GetTimestamp();
            while (spool.DurableSequence < receipt.Sequence && Stopwatch.GetElapsedTime(since) < TimeSpan.FromSeconds(20))
            {
                spool.Advanced.WaitOne(10);
            }
        }

        Console.Out.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{spool.SyncFailures}|{spool.DurableSequence}|{spool.LastSyncFailure}|{spool.Trouble}"));
    }
}
