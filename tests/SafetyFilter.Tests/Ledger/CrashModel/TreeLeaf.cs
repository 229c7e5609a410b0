using System.Runtime.InteropServices;
using System.Security.Cryptography;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Tests.Ledger.CrashModel;

/// <summary>Half of a record's leaf hash: enough to tell records apart.</summary>
internal sealed class TreeLeaf : IDisposable
{
    private readonly IncrementalHash _sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    public UInt128 Of(ReadOnlySpan<byte> record)
    {
        var hash = TreeHash.OfLeaf(_sha, record);
        return MemoryMarshal.Read<UInt128>(hash);
    }

    public void Dispose() => _sha.Dispose();
}
