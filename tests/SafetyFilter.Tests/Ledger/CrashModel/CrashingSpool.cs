using SafetyFilter.Decisions;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger.CrashModel;

/// <summary>A promise was broken; says by which seed, and where.</summary>
internal sealed class BrokenPromiseException(string message) : Exception(message);

/// <summary>
/// One volume's fate, decided by a seed: a spool on it is appended to, rolls, syncs, is published and deleted; syncs fail; the
/// power fails between and within all of that, and within recovery; processes are killed; and after each of these the
/// real <see cref="Spool.Open"/> has to find everything that was promised.
/// </summary>
internal sealed class CrashingSpool : IDisposable
{
    private static readonly SigningOptions Signing = new() { CheckpointInterval = TimeSpan.Zero };

    private readonly int _seed;
    private readonly Random _random;
    private readonly TreeLeaf _leaf = new();
    private readonly LedgerTruth _truth = new();
    private readonly long _segmentBytes;
    private readonly List<string> _trail = [];
    private readonly string _scratch;
    private VolumeModel _volume;
    private Spool? _spool;
    private int _folders;
    private BrokenPromiseException? _broken;
    private int _failures;
    private DiskCall _failing;

    public CrashingSpool(int seed, string scratch)
    {
        _seed = seed;
        _random = new Random(seed);
        _scratch = Path.Combine(scratch, $"{seed:x8}");
        _segmentBytes = 4096L << _random.Next(1, 4);
        _volume = new VolumeModel(NewFolder());
    }

    /// <summary>Losses of power that were recovered from.</summary>
    public int CrashPoints { get; private set; }

    public int Kills { get; private set; }

    public int FailedSyncs { get; private set; }

    public int DamagedImages { get; private set; }

    /// <summary>Lives until so many crash points were seen.</summary>
    public void Run(int crashPoints)
    {
        Start();
        while (CrashPoints < crashPoints)
        {
            Step();
        }
    }

    public void Dispose()
    {
        End();
        _leaf.Dispose();
        if (Directory.Exists(_scratch))
        {
            Directory.Delete(_scratch, recursive: true);
        }
    }

    private void Step()
    {
        switch (_random.Next(20))
        {
            case < 6:
                Append();
                break;
            case < 9:
                Trail("sync");
                Keeper(static keeper => keeper.TrySync(closing: false));
                break;
            case < 12:
                Trail("spare");
                Keeper(static keeper => keeper.HasSpare || keeper.TryMakeSpare());
                break;
            case 12:
                Publish();
                break;
            case 13 when _seed % 2 == 0:
                // A failing disk is signed and published past, so that a loss of power may then take what a checkpoint covers.
                _truth.DiskFailed = true;
                _failures = _random.Next(1, 4);
                _failing = (DiskCall)_random.Next(4);
                Trail($"fail {_failures} x {_failing}");
                break;
            case 13 or 14:
                _volume.Look();
                break;
            case 15:
                Trail("notary");
                Notarise();
                break;
            case < 18:
                CrashPoint("between steps");
                break;
            case 18:
                PowerFailure();
                break;
            default:
                Kill();
                break;
        }
    }

    private void Append()
    {
        var records = _random.Next(1, 12);
        Trail($"append {records}");
        for (var index = 0; index < records; index++)
        {
            var body = LedgerFolder.Body(_spool!, "r", _random.Next(5) == 0 ? _random.Next(2500) : _random.Next(200));
            var torn = _random.Next(8) == 0;
            if (torn)
            {
                _volume.Look();
            }

            if (_spool!.Append(RecordType.Decision, body, out var receipt) != AppendResult.Appended)
            {
                return;
            }

            if (torn && receipt.Durability != Durability.Memory)
            {
                TearLastCopy();
            }
        }
    }

    /// <summary>The kernel may write a page while a record is being copied into it: payload first, its length last.</summary>
    private void TearLastCopy()
    {
        var path = CurrentSegment();
        var before = VolumeModel.Read(path);
        _volume.Look();
        using var reader = SpoolReader.OpenSegment(path);
        long at = -1;
        var length = 0;
        while (reader.Read() == SpoolRead.Record)
        {
            at = reader.Offset;
            length = reader.Payload.Length;
        }

        if (at < 0)
        {
            return;
        }

        var frame = before.AsSpan((int)at, SegmentFormat.FrameHeaderLength + length);
        frame[(_random.Next(2) == 0 ? SegmentFormat.FrameHeaderLength + _random.Next(length) : frame.Length)..].Clear();
        frame[..(_random.Next(2) == 0 ? sizeof(uint) : SegmentFormat.FrameHeaderLength)].Clear();
        _volume.LookBack(path, before);
    }

    private string CurrentSegment()
    {
        // Taken spares keep their names until the sync thread's next step, so the newest records may be in one.
        var newest = new DirectoryInfo(_spool!.StreamFolder).EnumerateFiles()
            .Where(static file => file.Extension is SpoolFolder.SegmentExtension or SpoolFolder.SpareExtension)
            .Select(static file => (file.FullName, First: FirstSequence(file.FullName)))
            .MaxBy(static file => file.First);
        return newest.FullName;
    }

    private static ulong FirstSequence(string path)
    {
        Span<byte> header = stackalloc byte[SegmentFormat.FileHeaderLength];
        using var file = File.OpenHandle(path, share: FileShare.ReadWrite | FileShare.Delete);
        RandomAccess.Read(file, header, 0);
        return SegmentFormat.TryReadFileHeader(header, out var values) ? values.FirstSequence : 0;
    }

    /// <summary>As the publisher does: the cursor made durable, then segments deleted, the oldest first.</summary>
    private void Publish()
    {
        Learn();
        var through = _truth.Published + (ulong)_random.NextInt64((long)(Math.Max(_spool!.PublishableSequence, _truth.Published) - _truth.Published) + 1);
        if (through == _truth.Published)
        {
            return;
        }

        Trail($"publish through {through}");
        _truth.Published = through;
        if (new PublishCursor(through, "topic", 0, "", -1).Write(_spool!.StreamFolder) != 0)
        {
            return;
        }

        _truth.Deletable = through;
        new StreamPublication(_spool.StreamId, _spool.StreamFolder, new KafkaOptions()).DeletePublished(_spool.Notary.RecoverableFrom);
    }

    private void Notarise()
    {
        try
        {
            _spool!.Notary.Step();
        }
        catch (IOException)
        {
            // As its thread does: it will be tried again.
        }

        Learn();
    }

    private void Kill()
    {
        Trail("kill");
        Learn();
        Kills++;
        var volume = _volume;
        var folder = NewFolder();
        var next = volume.Restart(folder);
        End();
        _volume = next;
        Start();
    }

    private void PowerFailure()
    {
        if (_random.Next(3) == 0)
        {
            Trail("close");
            _spool!.Close();
            Learn();
        }

        Trail("power failure");
        CrashPoints++;
        Learn();
        _volume.Look();
        var folder = NewFolder();
        _volume.Crash(_random, folder);
        End();
        _volume = new VolumeModel(folder);
        Start();
    }

    /// <summary>Starts on the volume as it is now, checks what is there, and takes that for the truth.</summary>
    private void Start()
    {
        _failures = 0;
        _spool = Open(_volume, _volume.Root, depth: 1);
        _truth.Restart(_spool, _leaf);
        SpoolDisk.Model = _volume;
        _volume.Failing = Fails;
        _volume.Moment = () => PerhapsCrash("within a call");
    }

    private void End()
    {
        SpoolDisk.Model = null;
        if (_spool is not null)
        {
            _spool.Dispose();
            _spool = null;
        }

        if (Directory.Exists(_volume.Root))
        {
            Directory.Delete(_volume.Root, recursive: true);
        }
    }

    private void PerhapsCrash(string where)
    {
        if (_random.Next(6) == 0)
        {
            CrashPoint(where);
        }
    }

    /// <summary>Tries what would come of a loss of power now, and goes on as if there had been none.</summary>
    private void CrashPoint(string where)
    {
        CrashPoints++;
        Learn();
        _volume.Look();
        CheckImage(_volume, where, depth: 1);
    }

    private void CheckImage(VolumeModel volume, string where, int depth)
    {
        var running = SpoolDisk.Model;
        var folder = NewFolder();
        Trail($"crash {where}, depth {depth} -> {folder}");
        volume.Crash(_random, folder);
        try
        {
            // Looking on costs most of the time, so only some of these starts may meet another loss of power.
            using var recovered = Open(depth < 3 && _random.Next(3) == 0 ? new VolumeModel(folder) : null, folder, depth);
            DamagedImages += recovered.Recovery.Damages.Count > 0 ? 1 : 0;
            SpoolDisk.Model = null;
        }
        finally
        {
            SpoolDisk.Model = running;
        }

        Directory.Delete(folder, recursive: true);
        _trail.RemoveAt(_trail.Count - 1);
    }

    /// <summary>The real start on a volume; the power may fail in it as well.</summary>
    private Spool Open(VolumeModel? volume, string root, int depth)
    {
        SpoolDisk.Model = volume;
        if (volume is not null)
        {
            volume.Moment = () =>
            {
                if (_random.Next(20) == 0)
                {
                    CrashPoints++;
                    CheckImage(volume, "within a start", depth + 1);
                }
            };
        }

        try
        {
            var options = new SpoolOptions
            {
                Folder = root,
                SegmentBytes = _segmentBytes,
                MaxRecordBytes = 3000,
                AppendPatience = TimeSpan.Zero,
                MemoryBacklogBytes = 16 << 10,
            };
            var spool = Spool.Open(options, "test", TimeProvider.System, signing: Signing, threads: false);
            return _truth.Compare(spool, _leaf) is { } wrong ? throw Broken($"{wrong}\n{Contents(root)}") : spool;
        }
        catch (Exception failure) when (failure is not BrokenPromiseException)
        {
            throw _broken ?? Broken($"the start failed: {failure}\n{Contents(root)}");
        }
        finally
        {
            if (volume is not null)
            {
                volume.Moment = null;
            }
        }
    }

    private void Learn() => _truth.ReadOn(_spool!, _leaf);

    private void Keeper(Func<SpoolKeeper, bool> step)
    {
        _ = step(_spool!.Keeper);
        Learn();
    }

    private int Fails(DiskCall call)
    {
        if (_failures == 0 || call != _failing)
        {
            return 0;
        }

        _failures--;
        FailedSyncs++;
        return call == DiskCall.Allocate ? VolumeModel.NoSpace : VolumeModel.InputOutputError;
    }

    private void Trail(string step) => _trail.Add(step);

    private BrokenPromiseException Broken(string what) =>
        _broken ??= new BrokenPromiseException($"Seed {_seed}: {what}\n{string.Join("; ", _trail.TakeLast(40))}");

    /// <summary>What is in a folder, for whoever has to find out why.</summary>
    private static string Contents(string root)
    {
        var text = new System.Text.StringBuilder();
        foreach (var file in new DirectoryInfo(root).EnumerateFiles("*", SearchOption.AllDirectories).OrderBy(static file => file.FullName, StringComparer.Ordinal))
        {
            text.AppendLine(System.Globalization.CultureInfo.InvariantCulture, $"{file.Length,8} {file.Name}");
            using var reader = file.Extension == SpoolFolder.SegmentExtension ? SpoolReader.OpenSegment(file.FullName) : null;
            while (reader?.Read() is { } read and not SpoolRead.End)
            {
                text.Append(read == SpoolRead.Record ? $" {reader.Epoch}/{reader.Sequence}:{reader.Type}" : $" {reader.Damage.Kind}");
            }
        }

        return text.ToString();
    }

    private string NewFolder() => Directory.CreateDirectory(Path.Combine(_scratch, $"{_folders++}")).FullName;
}
