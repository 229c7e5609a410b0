using System.Globalization;
using System.Runtime.InteropServices;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Tests.Ledger;

/// <summary>
/// What <see cref="SpoolChild"/> does under a limit on the size of files (RLIMIT_FSIZE): the kernel writes up to it, says how much that was, and refuses
/// the rest. Here like there, no lambdas.
/// </summary>
internal static partial class ShortWrites
{
    /// <summary>Bytes; less than any of the ledger's small files has.</summary>
    public const ulong Limit = 24;

    /// <summary>Bytes; less than the segment that is written again has.</summary>
    public const ulong RewriteLimit = 8192;

    private const ulong Unlimited = ulong.MaxValue;

    public static void Run(SpoolOptions options, bool rewrites)
    {
        const int FileTooLarge = 25; // SIGXFSZ
        const nint Ignore = 1; // SIG_IGN
        if (Signal(FileTooLarge, Ignore) == -1)
        {
            Environment.Exit(4);
        }

        if (rewrites)
        {
            Rewrite(options);
        }
        else
        {
            Start(options);
        }
    }

    private static void Start(SpoolOptions options)
    {
        SetLimit(Limit);
        Say("start", Outcome(options));
        foreach (var stream in SpoolFolder.Streams(options.Folder))
        {
            Say("cursor", NativeFile.Describe(new PublishCursor(99, "a topic with a long name", 0).Write(stream)));
            var book = GapBook.Read(stream);
            try
            {
                book.Note(new LostRange(5, 6, Gap.Types.Cause.Damage, "", EmptyLeaves: false));
                Say("gaps", "noted");
            }
            catch (IOException error)
            {
                Say("gaps", $"{error.Message}, {book.NotAdmitted.Count} known");
            }
        }

        SetLimit(Unlimited);
        Say("then", Outcome(options));
    }

    private static string Outcome(SpoolOptions options)
    {
        try
        {
            using var spool = Spool.Open(options, "child", TimeProvider.System);
            return string.Create(CultureInfo.InvariantCulture, $"epoch {spool.Epoch}");
        }
        catch (LedgerException error)
        {
            return error.Message;
        }
    }

    private static void Rewrite(SpoolOptions options)
    {
        using var spool = Spool.Open(options, "child", TimeProvider.System, signing: LedgerFolder.Silent);
        SetLimit(RewriteLimit);

        // The injected failure is an fdatasync of the sync thread, so each record gets one.
        for (var index = 0; index < 20 && spool.SyncFailures == 0; index++)
        {
            spool.Append(RecordType.Decision, LedgerFolder.Body(spool, $"r{index}", length: 10_000), out var receipt);
            for (var tries = 0; tries < 2000 && spool.SyncFailures == 0 && spool.DurableSequence < receipt.Sequence; tries++)
            {
                spool.Advanced.WaitOne(10);
            }
        }

        for (var tries = 0; tries < 2000 && spool.SyncFailures < 3; tries++)
        {
            spool.Advanced.WaitOne(10);
        }

        var rewritten = Directory.GetFiles(spool.StreamFolder, "*.rewrite");
        Say("limited", $"{spool.DurableSequence < spool.LastSequence}|{new FileInfo(rewritten[0]).Length}|{spool.Trouble}");
        SetLimit(Unlimited);
        for (var tries = 0; tries < 2000 && spool.DurableSequence < spool.LastSequence; tries++)
        {
            spool.Advanced.WaitOne(10);
        }

        Say("then", $"{spool.DurableSequence == spool.LastSequence}|{Directory.GetFiles(spool.StreamFolder, "*.rewrite").Length}|{spool.Trouble}");
    }

    private static void Say(string what, string text) => Console.Out.WriteLine($"{what}: {text}");

    private static void SetLimit(ulong bytes)
    {
        const int FileSize = 1; // RLIMIT_FSIZE
        var limit = new ResourceLimit { Soft = bytes, Hard = Unlimited };
        if (SetResourceLimit(FileSize, limit) != 0)
        {
            Environment.Exit(4);
        }
    }

    [LibraryImport("libc", EntryPoint = "signal")]
    private static partial nint Signal(int signal, nint handler);

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    private static partial int SetResourceLimit(int resource, in ResourceLimit limit);

    private struct ResourceLimit
    {
        public ulong Soft;
        public ulong Hard;
    }
}
