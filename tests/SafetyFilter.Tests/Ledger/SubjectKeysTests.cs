using System.Collections.Concurrent;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;

namespace SafetyFilter.Tests.Ledger;

public sealed class SubjectKeysTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-keys-");

    private string Keys => Path.Combine(_folder.FullName, "subjects.keys");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void TryGetKey_SameSubject_SameKeyAlsoAfterARestart()
    {
        (string Id, string Key) first, other;
        using (var keys = Open())
        {
            first = Get(keys, "one");
            other = Get(keys, "two");
            Assert.Equal(first, Get(keys, "one"));
        }

        Assert.NotEqual(first.Id, other.Id);
        Assert.NotEqual(first.Key, other.Key);
        using var again = Open();
        Assert.Equal(first, Get(again, "one"));
        Assert.Equal(other, Get(again, "two"));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Keys));
    }

    [Fact]
    public void TryGetKey_CopyOfTheFileAtAnyMoment_HasEveryKeyGivenSoFar()
    {
        // What a kill leaves is what the page cache has, which is what a copy reads.
        using var keys = Open();
        for (var i = 0; i < 30; i++)
        {
            var (id, key) = Get(keys, $"subject-{i}");
            var copy = Path.Combine(_folder.FullName, "copy");
            File.WriteAllBytes(copy, Bytes());
            using var reader = SubjectKeyFile.Open(copy);
            Assert.Equal(SlotState.Live, reader.TryGetKey(Convert.FromHexString(id), out var found));
            Assert.Equal(key, Convert.ToHexString(found));
        }
    }

    [Fact]
    public void Erase_WhileASidecarHasTheFile_GivesTheSubjectAnotherKeyAndNeverTheOldOne()
    {
        using var keys = Open();
        var seen = new HashSet<(string Id, string Key)>();
        for (var i = 0; i < 5; i++)
        {
            var key = Get(keys, "one");
            Assert.True(seen.Add(key));
            Erase("one", expected: 1);
            Erase("one", expected: 0);
            Assert.True(Bytes().AsSpan().IndexOf(Convert.FromHexString(key.Key)) < 0);
        }

        var last = Get(keys, "one");
        keys.Dispose();
        using var again = Open();
        Assert.Equal(last, Get(again, "one"));
        Assert.DoesNotContain(last, seen);
    }

    [Fact]
    public void TryGetKey_Full_SaysNoToNewSubjectsOnly()
    {
        using var keys = Open(maxSubjects: 2);
        var first = Get(keys, "one");
        Get(keys, "two");
        Assert.False(keys.TryGetKey("three"u8, new byte[16], new byte[32]));
        Assert.Equal(first, Get(keys, "one"));
    }

    [Fact]
    public void TryGetKey_ManyThreads_AgreeOnOneKeyPerSubject()
    {
        using var keys = Open();
        var found = new ConcurrentDictionary<int, ConcurrentBag<(string, string)>>();
        Parallel.For(0, 2000, i => found.GetOrAdd(i % 50, static _ => []).Add(Get(keys, $"subject-{i % 50}")));
        Assert.All(found.Values, static bag => Assert.Single(bag.Distinct()));
        Assert.Equal(50, found.Values.Select(static bag => bag.First()).Distinct().Count());
    }

    [Fact]
    public void Open_HolesAndHalfWrittenSlots_LosesOnlyThose()
    {
        (string Id, string Key) one, two, three;
        using (var keys = Open())
        {
            (one, two, three) = (Get(keys, "one"), Get(keys, "two"), Get(keys, "three"));
        }

        // A loss of power: the first slot never reached the disk, the second only in part.
        using (var file = File.OpenHandle(Keys, FileMode.Open, FileAccess.Write))
        {
            RandomAccess.Write(file, new byte[SubjectSlot.Length], SubjectSlot.HeaderLength);
            RandomAccess.Write(file, [1, 2, 3], SubjectSlot.HeaderLength + SubjectSlot.Length + 20);
        }

        using var again = Open();
        Assert.NotEqual(one.Key, Get(again, "one").Key);
        Assert.NotEqual(two.Key, Get(again, "two").Key);
        Assert.Equal(three, Get(again, "three"));
    }

    [Fact]
    public void Open_InUseOrNoKeyFile_SaysWhatToDo()
    {
        using var keys = Open();
        Assert.Contains("is in use by another sidecar", Assert.Throws<LedgerException>(() => Open()).Message, StringComparison.Ordinal);
        var other = Path.Combine(_folder.FullName, "other");
        Assert.Contains("does not exist", Assert.Throws<LedgerException>(() => SubjectKeyFile.Open(other)).Message, StringComparison.Ordinal);
        File.WriteAllText(other, new string('x', 100));
        Assert.Contains("is no file of subject keys", Assert.Throws<LedgerException>(() => SubjectKeyFile.Open(other)).Message, StringComparison.Ordinal);
        Assert.Contains("is no hash key", Assert.Throws<LedgerException>(() => HashKey.Load(other)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void HashKey_MadeOnce_IsReadAgainAndOnlyItsOwnersToRead()
    {
        var path = Path.Combine(_folder.FullName, "hash.key");
        var made = HashKey.LoadOrCreate(path).Of("caller", "uds");
        Assert.Equal(made, HashKey.LoadOrCreate(path).Of("caller", "uds"));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        Assert.Equal(32, Convert.FromBase64String(File.ReadAllText(path).Trim()).Length);
    }

    private static (string Id, string Key) Get(SubjectKeys keys, string subject)
    {
        var (id, key) = (new byte[16], new byte[32]);
        Assert.True(keys.TryGetKey(Encoding.UTF8.GetBytes(subject), id, key));
        return (Convert.ToHexString(id), Convert.ToHexString(key));
    }

    // .NET's own ways to read a file want a lock on it.
    private byte[] Bytes()
    {
        using var file = NativeFile.OpenRead(Keys, out _);
        var bytes = new byte[RandomAccess.GetLength(file)];
        Assert.Equal(bytes.Length, RandomAccess.Read(file, bytes, 0));
        return bytes;
    }

    private void Erase(string subject, int expected)
    {
        using var file = SubjectKeyFile.Open(Keys, forErasing: true);
        Assert.Equal(expected, file.Erase(Encoding.UTF8.GetBytes(subject)));
    }

    private SubjectKeys Open(int maxSubjects = 1000) => SubjectKeys.Open(Keys, maxSubjects, TimeProvider.System, NullLogger.Instance);
}
