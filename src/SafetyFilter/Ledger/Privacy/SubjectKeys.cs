using System.Buffers.Binary;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace SafetyFilter.Ledger.Privacy;

/// <summary>
/// The keys of the subjects that this sidecar has seen, in a mapped file. Keys are never copied out of it for longer than a request:
/// whoever overwrites a slot has destroyed that key here too, at once. Thread-safe; one sidecar per file.
/// </summary>
/// <remarks>
/// A new key is in the operating system's page cache before anything is sealed with it, so it survives the death of this process. A
/// loss of power may take keys of the last moments: what they sealed is then erased, which is the safe side.
/// </remarks>
internal sealed unsafe class SubjectKeys : IDisposable
{
    // Every generation is an erasure that the subject asked for.
    private const int MostGenerations = 1000;
    private const int PopulateBytes = 64 << 10;
    private const int Page = 4096;

    private readonly SafeFileHandle _file;
    private readonly string _path;
    private readonly byte[] _secret;
    private readonly byte* _start;
    private readonly long _length;
    private readonly int _capacity;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly AutoResetEvent _added = new(false);
    private readonly Thread _keeper;
    private volatile bool _stopping;

    // Written under the gate. Which slot an id has; destroyed ones too.
    private readonly Lock _gate = new();
    private readonly Dictionary<UInt128, int> _slots = [];
    private int _used;

    private SubjectKeys(SafeFileHandle file, string path, int maxSubjects, TimeProvider time, ILogger logger)
    {
        _file = file;
        _path = path;
        _time = time;
        _logger = logger;
        _capacity = maxSubjects;
        _secret = SubjectKeyFile.ReadSecret(file, path);
        foreach (var (offset, id, state) in SubjectKeyFile.Scan(file))
        {
            var slot = (int)((offset - SubjectSlot.HeaderLength) / SubjectSlot.Length);
            _used = slot + 1;
            if (state != SlotState.Unreadable)
            {
                _slots[id] = slot;
            }
        }

        _length = Math.Max(RandomAccess.GetLength(file), SubjectSlot.HeaderLength + (long)maxSubjects * SubjectSlot.Length);
        Check(NativeFile.Allocate(file, _length), path, "space for it cannot be reserved", "Free space, or lower Ledger:Privacy:MaxSubjects.");
        Check(NativeFile.Map(file, _length, out _start), path, "it cannot be mapped", "Use a local file system.");
        PopulateAhead();
        _keeper = new Thread(Keep) { Name = "ledger-keys", IsBackground = true };
        _keeper.Start();
    }

    /// <summary>Times that the disk did not confirm new keys.</summary>
    public long SyncFailures { get; private set; }

    /// <summary>Opens the file, or makes one that only its owner may read. Holds its lock until disposal.</summary>
    /// <exception cref="LedgerException">It cannot be used; says why and what to do.</exception>
    public static SubjectKeys Open(string path, int maxSubjects, TimeProvider time, ILogger logger)
    {
        if (!File.Exists(path))
        {
            KeyFile.Create(path, SubjectSlot.NewHeader());
        }

        var file = NativeFile.OpenOrCreate(path, out var error);
        try
        {
            Check(error, path, "it cannot be opened", "Make it readable and writable for the sidecar.");
            Check(NativeFile.Lock(file, exclusive: true), path, "it is in use by another sidecar", "Give each its own Ledger:Privacy:SubjectKeysFile.");
            return new SubjectKeys(file, path, maxSubjects, time, logger);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The present key of a subject, made when it has none.</summary>
    /// <param name="subject">As the request names it.</param>
    /// <param name="keyId">Gets 16 bytes.</param>
    /// <param name="key">Gets 32 bytes; the caller overwrites them when done.</param>
    /// <returns>False when the file is full, or the key is being destroyed at this moment.</returns>
    public bool TryGetKey(ReadOnlySpan<byte> subject, Span<byte> keyId, Span<byte> key)
    {
        Span<byte> root = stackalloc byte[32];
        Span<byte> copy = stackalloc byte[SubjectSlot.Length];
        SubjectSlot.RootOf(_secret, subject, root);
        for (var generation = 0; generation < MostGenerations; generation++)
        {
            var id = SubjectSlot.IdOf(root, generation);
            var slot = FindOrAdd(id);
            if (slot < 0)
            {
                return false;
            }

            SlotAt(slot).CopyTo(copy);
            var state = SubjectSlot.Read(copy, out var found);
            if (state == SlotState.Live && found == id)
            {
                BinaryPrimitives.WriteUInt128BigEndian(keyId, id);
                SubjectSlot.KeyOf(copy).CopyTo(key);
                CryptographicOperations.ZeroMemory(copy);
                return true;
            }

            if (state != SlotState.Destroyed)
            {
                return false;
            }
        }

        return false;
    }

    public void Dispose()
    {
        if (_stopping)
        {
            return;
        }

        _stopping = true;
        _added.Set();
        _keeper.Join();
        NativeFile.Unmap(_start, _length);
        _file.Dispose();
        _added.Dispose();
    }

    private int FindOrAdd(UInt128 id)
    {
        lock (_gate)
        {
            if (_slots.TryGetValue(id, out var slot))
            {
                return slot;
            }

            if (_used >= _capacity)
            {
                return -1;
            }

            slot = _used++;
            Span<byte> made = stackalloc byte[SubjectSlot.Length];
            Span<byte> key = stackalloc byte[SubjectSlot.KeyLength];
            RandomNumberGenerator.Fill(key);
            SubjectSlot.Write(made, id, key, _time.GetUtcNow().ToUnixTimeSeconds(), SlotState.Live);
            made.CopyTo(SlotAt(slot));
            CryptographicOperations.ZeroMemory(made);
            CryptographicOperations.ZeroMemory(key);
            _slots.Add(id, slot);
            _added.Set();
            return slot;
        }
    }

    private Span<byte> SlotAt(int slot) => new(_start + SubjectSlot.HeaderLength + (long)slot * SubjectSlot.Length, SubjectSlot.Length);

    private void Keep()
    {
        while (!_stopping)
        {
            _added.WaitOne();
            if (NativeFile.DataSync(_file) is not 0 and var error)
            {
                SyncFailures++;
                LedgerLog.SubjectKeysNotDurable(_logger, _path, NativeFile.Describe(error));
            }

            PopulateAhead();
        }
    }

    // A new page costs a fault, which may wait for the file system: here rather than in a request.
    private void PopulateAhead()
    {
        var from = (SubjectSlot.HeaderLength + (long)Volatile.Read(ref _used) * SubjectSlot.Length) / Page * Page;
        if (from < _length)
        {
            _ = NativeFile.Populate(_start + from, Math.Min(PopulateBytes, _length - from));
        }
    }

    private static void Check(int error, string path, string problem, string remedy)
    {
        if (error != 0)
        {
            throw new LedgerException($"The file of subject keys '{path}': {problem} ({NativeFile.Describe(error)}). {remedy}");
        }
    }
}
