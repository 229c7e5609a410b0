using Microsoft.Win32.SafeHandles;

namespace SafetyFilter.Ledger;

/// <summary>One segment file that is being written: preallocated, mapped shared. <see cref="Spool"/> says who may call what.</summary>
internal sealed unsafe class Segment : IDisposable
{
    private readonly SafeFileHandle _file;
    private byte* _start;

    // Appenders that still read the mapping to hash what they wrote.
    private int _pins;

    private Segment(string path, SafeFileHandle file, byte* start, long length)
    {
        Path = path;
        _file = file;
        _start = start;
        Length = length;
    }

    /// <summary>Where the file is now: a spare until it is taken and renamed.</summary>
    public string Path { get; set; }

    public long Length { get; }

    public ulong FirstSequence { get; private set; }

    /// <summary>Bytes written, from the start of the file. Moves under the spool's lock only.</summary>
    public long Used { get; private set; }

    /// <summary>Bytes that fdatasync has confirmed. Used only by the sync thread.</summary>
    public long Synced { get; set; }

    /// <summary>After a failed fdatasync: this descriptor is not trusted any more.</summary>
    public bool Condemned { get; private set; }

    public bool IsPinned => Volatile.Read(ref _pins) != 0;

    /// <summary>Makes a file with all its blocks reserved and its name durable. Null, and why, when the disk will not.</summary>
    /// <param name="mode">Open: the file is there with zeros in it, and perhaps all that a full disk has left.</param>
    public static Segment? TryCreate(string path, long length, out string problem, FileMode mode = FileMode.CreateNew)
    {
        problem = "";
        SafeFileHandle file;
        try
        {
            file = File.OpenHandle(path, mode, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            problem = failure.Message;
            return null;
        }

        byte* start = null;
        var error = NativeFile.Allocate(file, length);
        error = error != 0 ? error : NativeFile.Sync(file);
        error = error != 0 ? error : NativeFile.SyncFolder(System.IO.Path.GetDirectoryName(path)!);
        error = error != 0 ? error : NativeFile.Map(file, length, out start);
        if (error == 0)
        {
            return new Segment(path, file, start, length);
        }

        problem = NativeFile.Describe(error);
        file.Dispose();
        NativeFile.Remove(path);
        return null;
    }

    /// <summary>Starts the segment. Before this its header is zeros, which is how recovery knows an unused spare.</summary>
    public void Begin_NeedsLock(in SegmentHeader header)
    {
        FirstSequence = header.FirstSequence;
        SegmentFormat.WriteFileHeader(new Span<byte>(_start, SegmentFormat.FileHeaderLength), header);
        Used = SegmentFormat.FileHeaderLength;
    }

    /// <summary>Stores one frame and pins the segment.</summary>
    public byte* Write_NeedsLock(ref FrameHeader frame, uint bodyCrc, ReadOnlySpan<byte> body)
    {
        var at = _start + Used;
        SegmentFormat.WriteFrame(at, ref frame, bodyCrc, body);
        Used += SegmentFormat.FrameLength((int)frame.Length);
        Pin();
        return at;
    }

    /// <summary>Stores a frame that was made elsewhere.</summary>
    public void Copy_NeedsLock(byte* frame, int length)
    {
        var at = _start + Used;
        Buffer.MemoryCopy(frame + sizeof(uint), at + sizeof(uint), Length - Used - sizeof(uint), length - sizeof(uint));
        Volatile.Write(ref *(uint*)at, *(uint*)frame);
        Used += length;
    }

    public void Pin() => Interlocked.Increment(ref _pins);

    public void Unpin() => Interlocked.Decrement(ref _pins);

    public int DataSync() => NativeFile.DataSync(_file);

    /// <summary>
    /// No fsync by anybody says the truth about this file any more. The mark beside it tells a run that comes after a kill; a
    /// loss of power settles the matter, so the mark need not survive one.
    /// </summary>
    public void Condemn()
    {
        Condemned = true;
        NativeFile.OpenOrCreate(Path + SpoolFolder.DoubtExtension, out _).Dispose();
    }

    /// <summary>Takes the page faults of stores into this range. 0 or an errno.</summary>
    public int Populate(long from, long length)
    {
        const long Page = 4096;
        var start = from & ~(Page - 1);
        var end = Math.Min(Length, (from + length + Page - 1) & ~(Page - 1));
        return end <= start ? 0 : NativeFile.Populate(_start + start, end - start);
    }

    /// <summary>
    /// Copies what was written to a new file, made durable there, and puts it in this one's place. Null, or what hinders it.
    /// A kernel that dropped the pages may have read old ones into the mapping again, so the copy must prove to be whole.
    /// </summary>
    public string? Rewrite()
    {
        var copy = Path + ".rewrite";
        try
        {
            // Of a try before this one, whose fsync may have failed: what is written to that file again could count as clean.
            NativeFile.Remove(copy);
            using (var target = File.OpenHandle(copy, FileMode.CreateNew, FileAccess.Write))
            {
                const int Step = 1 << 20;
                var error = 0;
                for (long offset = 0; offset < Used && error == 0; offset += Step)
                {
                    error = NativeFile.Write(target, new ReadOnlySpan<byte>(_start + offset, (int)Math.Min(Step, Used - offset)), offset);
                }

                error = error != 0 ? error : NativeFile.Sync(target);
                if (error != 0)
                {
                    return NativeFile.Describe(error);
                }
            }

            if (!IsWhole(copy))
            {
                NativeFile.Remove(copy);
                return "the kernel no longer has all records that were written; the file is left as it is";
            }

            File.Move(copy, Path, overwrite: true);
            if (NativeFile.SyncFolder(System.IO.Path.GetDirectoryName(Path)!) is not 0 and var folderError)
            {
                return NativeFile.Describe(folderError);
            }

            NativeFile.Remove(Path + SpoolFolder.DoubtExtension);
            return null;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return failure.Message;
        }
    }

    private bool IsWhole(string copy)
    {
        using var reader = SpoolReader.OpenSegment(copy);
        while (true)
        {
            switch (reader.Read())
            {
                case SpoolRead.Damage:
                    return false;
                case SpoolRead.End:
                    return reader.Position == Used;
            }
        }
    }

    /// <summary>Gives back what was preallocated past the last frame. Readers read, and never map, so nothing can fault.</summary>
    public void TruncateAndDispose()
    {
        var file = Condemned ? null : _file;
        if (file is not null && Length > Used)
        {
            RandomAccess.SetLength(file, Used);
        }

        Dispose();
    }

    public void Dispose()
    {
        if (_start is not null)
        {
            NativeFile.Unmap(_start, Length);
            _start = null;
            _file.Dispose();
        }
    }
}
