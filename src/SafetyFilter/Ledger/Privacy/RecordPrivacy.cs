using Microsoft.Extensions.Logging;
using SafetyFilter.Decisions;

namespace SafetyFilter.Ledger.Privacy;

/// <summary>What a record does not show although its policy meant it to, or not in the way that it meant.</summary>
[Flags]
internal enum RecordShortfall
{
    None = 0,

    /// <summary>Fields to be sealed were masked: the request names no subject, or there is no key for it.</summary>
    Unsealed = 1,

    /// <summary>Captured inputs would not fit the record and were left out.</summary>
    InputsDropped = 2,
}

/// <summary>The keys that records are written with, opened when the first policy asks for them. Thread-safe once prepared.</summary>
internal sealed class RecordPrivacy(
    PrivacyOptions options, string spoolFolder, int maxRecordBytes, TimeProvider time, ILogger<RecordPrivacy> logger) : IDisposable
{
    /// <summary>Null until a policy hashes; what would be hashed is masked then.</summary>
    public HashKey? Hash { get; private set; }

    /// <summary>Null until a policy seals; what would be sealed is masked then.</summary>
    public SubjectKeys? Subjects { get; private set; }

    /// <summary>The largest record that the ledger takes.</summary>
    public int MaxRecordBytes { get; } = maxRecordBytes;

    /// <summary>Opens or makes the keys that a surface's records need. To be called before any of its requests.</summary>
    /// <exception cref="LedgerException">A key file cannot be used; says why and what to do.</exception>
    public void Prepare(RecordPlan plan)
    {
        if (plan.Hashed != RecordParts.None)
        {
            Hash ??= HashKey.LoadOrCreate(Path.Combine(spoolFolder, options.HashKeyFile));
        }

        if (plan.Seals)
        {
            Subjects ??= SubjectKeys.Open(Path.Combine(spoolFolder, options.SubjectKeysFile), options.MaxSubjects, time, logger);
        }
    }

    public void Dispose() => Subjects?.Dispose();
}
