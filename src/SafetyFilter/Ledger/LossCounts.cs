using System.Runtime.InteropServices;

namespace SafetyFilter.Ledger;

/// <summary>One slot of a <see cref="LossPage"/>, as it lies in the file: little-endian, 8 bytes a field, a CRC32C at the end.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 8)]
internal struct LossCounts
{
    private const ulong ExpectedMagic = 0x3130_5353_4F4C_4653; // "SFLOSS01"

    private ulong _magic;

    /// <summary>The slot with the higher one counts.</summary>
    public ulong Revision;

    // Answers without a record since the stream began.
    public ulong Decisions;
    public ulong Candidates;

    /// <summary>When the first and the last of those were given that no Loss record tells of.</summary>
    public ulong FirstTime;
    public ulong LastTime;
    private ulong _firstTimeSinceReport;

    /// <summary>How much of <see cref="Decisions"/> and <see cref="Candidates"/> Loss records tell.</summary>
    public ulong Reported;
    public ulong ReportedCandidates;

    /// <summary>A Loss record with this total was about to be appended, after that sequence.</summary>
    public ulong Intent;
    public ulong IntentAfter;
    private ulong _intentCandidates;

    /// <summary>How much of <see cref="Decisions"/> decision records tell in lost_since_last.</summary>
    public ulong Claimed;

    // What waits in memory for a segment.
    public ulong Waiting;
    public ulong WaitingCandidates;
    public ulong WaitingSince;
    public ulong WaitingUntil;
    private ulong _headSequence;
    private ulong _headDecisions;
    private ulong _headCandidates;
    private ulong _crc;

    public bool IsWhole => _magic == ExpectedMagic && _crc == Crc();

    public void Seal()
    {
        _magic = ExpectedMagic;
        Revision++;
        _crc = Crc();
    }

    public void Count(ulong decisions, ulong candidates, ulong first, ulong last)
    {
        Decisions += decisions;
        Candidates += candidates;
        FirstTime = FirstTime == 0 ? first : FirstTime;
        _firstTimeSinceReport = _firstTimeSinceReport == 0 ? first : _firstTimeSinceReport;
        LastTime = last;
    }

    public void BeginReport(ulong lastSequence)
    {
        Intent = Decisions;
        _intentCandidates = Candidates;
        IntentAfter = lastSequence;
        _firstTimeSinceReport = 0;
    }

    public void EndReport()
    {
        Reported = Intent;
        ReportedCandidates = _intentCandidates;
        FirstTime = _firstTimeSinceReport;
    }

    public void SetHead(in WaitingRecord head)
    {
        _headSequence = head.Sequence;
        _headDecisions = head.Decisions;
        _headCandidates = head.Candidates;
    }

    /// <summary>What waited in the memory of a process that is gone was lost with it.</summary>
    /// <param name="lastSequence">The last record on the disk: a kill may come after a record was moved and before that was counted here.</param>
    public ulong LoseWaiting(ulong lastSequence)
    {
        var moved = _headSequence != 0 && lastSequence >= _headSequence;
        var lost = Waiting - (moved ? _headDecisions : 0);
        if (lost != 0)
        {
            Count(lost, WaitingCandidates - (moved ? _headCandidates : 0), WaitingSince, WaitingUntil);
        }

        Waiting = WaitingCandidates = 0;
        SetHead(default);
        return lost;
    }

    private readonly ulong Crc()
    {
        var all = MemoryMarshal.AsBytes(new ReadOnlySpan<LossCounts>(in this));
        return SegmentFormat.Crc32C(uint.MaxValue, all[..^sizeof(ulong)]);
    }
}
