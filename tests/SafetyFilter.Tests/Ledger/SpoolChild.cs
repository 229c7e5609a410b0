using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using SafetyFilter.Decisions;
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

    /// <summary>Has no room and serves without records, and writes the count, 8 bytes, after each.</summary>
    public const string LoseUntilKilled = "lose";

    /// <summary>Appends at the level memory, faster than segments come, and writes the count of records, 8 bytes, after each.</summary>
    public const string AppendThroughMemory = "memory";

    /// <summary>On a disk that confirms nothing: tells how many waits for it came back as confirmed.</summary>
    public const string WaitForFailingDisk = "wait";

    /// <summary>
    /// Files may not grow past <see cref="ShortWrites.Limit"/>: tells what a start says, what becomes of the files that are replaced, and, without the limit, of
    /// the next start.
    /// </summary>
    public const string WriteShort = "short";

    /// <summary>A segment must be written again, and only its beginning can be: tells what is promised before and after it can.</summary>
    public const string RewriteShort = "rewrite";

    /// <summary>50 tasks that wait 4 times each for the disk: tells how many waits were confirmed.</summary>
    public const string WaitTogether = "group";

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
            DiskPatience = TimeSpan.FromSeconds(30),
        };
        Adjust(options, mode);
        if (mode is WriteShort or RewriteShort)
        {
            ShortWrites.Run(options, rewrites: mode == RewriteShort);
            Environment.Exit(0);
        }

        using var output = Console.OpenStandardOutput();
        var signing = mode == AppendDurably ? LedgerFolder.Silent : new SigningOptions { CheckpointRecords = 100 };
        using (var spool = Spool.Open(options, "child", TimeProvider.System, signing: signing))
        {
            switch (mode)
            {
                case AppendDurably:
                    Durably(spool);
                    break;
                case LoseUntilKilled:
                    Lose(spool, output);
                    break;
                case AppendThroughMemory:
                    ThroughMemory(spool, output);
                    break;
                case WaitForFailingDisk:
                    ForFailingDisk(spool);
                    break;
                case WaitTogether:
                    Together(spool);
                    break;
                default:
                    UntilKilled(spool, output);
                    break;
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

    private static void Adjust(SpoolOptions options, string mode)
    {
        switch (mode)
        {
            case LoseUntilKilled:
                options.MaxBytes = 2 * options.SegmentBytes + (16 << 10);
                options.MemoryBacklogBytes = 0;
                options.AppendPatience = TimeSpan.Zero;
                break;
            case WaitForFailingDisk:
                options.DiskPatience = TimeSpan.FromMilliseconds(200);
                break;
            case WaitTogether:
                options.SyncInterval = TimeSpan.FromMinutes(10);
                break;
        }
    }

    private static void Lose(Spool spool, Stream output)
    {
        var body = LedgerFolder.Body(spool, "full", length: 1000);
        var refuse = new RecordTerms { RefuseWhenLate = true };
        while (spool.Append(RecordType.Decision, body, refuse, 1, out _) != AppendResult.Unavailable)
        {
            // Until it is full.
        }

        var serve = new RecordTerms { ServeWhenFull = true };
        while (spool.Append(RecordType.Decision, body, serve, 3, out _) == AppendResult.Lost)
        {
            Tell(output, spool.LostTotal);
        }

        Environment.Exit(3);
    }

    private static void ThroughMemory(Spool spool, Stream output)
    {
        var memory = new RecordTerms { Durability = Durability.Memory };
        ulong decisions = 0;
        while (true)
        {
            var body = LedgerFolder.Body(spool, $"m{decisions}", length: 20_000 + (int)(decisions * 131 % 40_000));
            if (spool.Append(RecordType.Decision, body, memory, 2, out _) == AppendResult.Appended)
            {
                Tell(output, ++decisions);
            }
        }
    }

    private static void ForFailingDisk(Spool spool)
    {
        var confirmed = 0;
        for (var index = 0; index < 5; index++)
        {
            spool.Append(RecordType.Decision, LedgerFolder.Body(spool, $"r{index}"), out var receipt);
            confirmed += spool.WhenDurable(receipt.Sequence).AsTask().GetAwaiter().GetResult() ? 1 : 0;
        }

        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{confirmed}|{spool.DurableSequence}|{spool.SyncFailures > 0}"));
        Console.Out.Flush();
        Environment.Exit(0);
    }

    private static void Together(Spool spool)
    {
        // No lambdas here: see above.
        var confirmed = 0;
        for (var round = 0; round < 4; round++)
        {
            var waits = new Task<bool>[50];
            for (var index = 0; index < waits.Length; index++)
            {
                spool.Append(RecordType.Decision, LedgerFolder.Body(spool, $"r{round}-{index}"), out var receipt);
                waits[index] = spool.WhenDurable(receipt.Sequence).AsTask();
            }

            foreach (var wait in waits)
            {
                confirmed += wait.GetAwaiter().GetResult() ? 1 : 0;
            }
        }

        Console.Out.WriteLine(confirmed);
    }

    private static void Tell(Stream output, ulong count)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, count);
        output.Write(bytes);
        output.Flush();
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
