using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging;

namespace SafetyFilter.Ledger;

/// <summary>How much the spool may still take: what the volume has, and what <see cref="SpoolOptions.MaxBytes"/> leaves.</summary>
internal sealed class SpoolSpace(string streamFolder, SpoolOptions options, ILogger logger)
{
    private static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(2);

    // Used only by the sync thread.
    private long _looked;
    private bool _warned;

    private long _free = -1;

    /// <summary>Bytes, as of the last look; -1 when it is not known.</summary>
    public long Free => Volatile.Read(ref _free);

    /// <summary>Why one more segment may not be made; null when it may.</summary>
    public string? Refuses()
    {
        try
        {
            return options.MaxBytes != 0 && Own() + options.SegmentBytes > options.MaxBytes
                ? string.Create(CultureInfo.InvariantCulture, $"the spool would be larger than Ledger:Spool:MaxBytes ({options.MaxBytes})")
                : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return error.Message;
        }
    }

    /// <summary>Looks, now and then, and warns once each time that space runs low.</summary>
    public void Watch()
    {
        if (_looked != 0 && Stopwatch.GetElapsedTime(_looked) < LookEvery)
        {
            return;
        }

        _looked = Stopwatch.GetTimestamp();
        var free = Look();
        Volatile.Write(ref _free, free);
        if (free >= 0 && free < options.WarnFreeBytes && !_warned)
        {
            _warned = true;
            LedgerLog.SpaceLow(logger, streamFolder, free, options.WarnFreeBytes);
        }
        else if (_warned && free >= options.WarnFreeBytes + options.SegmentBytes)
        {
            _warned = false;
            LedgerLog.SpaceBack(logger, streamFolder, free);
        }
    }

    private long Look()
    {
        try
        {
            var volume = new DriveInfo(Path.GetFullPath(streamFolder)).AvailableFreeSpace;
            return options.MaxBytes == 0 ? volume : Math.Clamp(options.MaxBytes - Own(), 0, volume);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return -1;
        }
    }

    /// <summary>Segments, spares and what is kept in the quarantine folder.</summary>
    private long Own()
    {
        long sum = 0;
        foreach (var file in new DirectoryInfo(streamFolder).EnumerateFiles("*", SearchOption.AllDirectories))
        {
            sum += LengthOf(file);
        }

        return sum;
    }

    private static long LengthOf(FileInfo file)
    {
        try
        {
            return file.Length;
        }
        catch (FileNotFoundException)
        {
            // Published and deleted, or renamed, since it was listed.
            return 0;
        }
    }
}
