using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger.CrashModel;

/// <summary>The model itself: what may be left, what must be, and that both really come up.</summary>
public sealed class VolumeModelTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("sf-volume-").FullName;
    private readonly VolumeModel _volume;

    public VolumeModelTests()
    {
        Directory.CreateDirectory(Disk);
        File.WriteAllText(Path.Combine(Disk, "old"), "before");
        _volume = new VolumeModel(Disk);
    }

    private string Disk => Path.Combine(_root, "disk");

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void Crash_NothingSynced_LeavesOldNamesAndAnyOfTheNewOnes()
    {
        File.WriteAllText(Path.Combine(Disk, "new"), "content");
        var images = Images();
        Assert.All(images, static image => Assert.Equal("before", image["old"]));
        Assert.Contains(images, static image => !image.ContainsKey("new"));
        Assert.Contains(images, static image => image.TryGetValue("new", out var content) && content.Length == 0);
        Assert.Contains(images, static image => image.TryGetValue("new", out var content) && content == "content");
    }

    [Fact]
    public void Crash_FileAndFolderSynced_AlwaysLeavesThem()
    {
        Sync(Write("new", "content"));
        _volume.SyncFolder(Disk);
        Assert.All(Images(), static image => Assert.Equal("content", image["new"]));
    }

    [Fact]
    public void Crash_ReplacedByRename_LeavesOldOrNewAndNeverNothing()
    {
        Sync(Write("old.tmp", "after"));
        File.Move(Path.Combine(Disk, "old.tmp"), Path.Combine(Disk, "old"), overwrite: true);
        var contents = Images().Select(static image => image["old"]).ToHashSet(StringComparer.Ordinal);
        Assert.Equal(["after", "before"], contents.Order(StringComparer.Ordinal));

        _volume.SyncFolder(Disk);
        Assert.All(Images(), static image => Assert.Equal("after", image["old"]));
    }

    [Fact]
    public void Crash_Unlinked_MayBeUndoneUntilTheFolderIsSynced()
    {
        File.Delete(Path.Combine(Disk, "old"));
        Assert.Equal(2, Images().Select(static image => image.ContainsKey("old")).Distinct().Count());
        _volume.SyncFolder(Disk);
        Assert.All(Images(), static image => Assert.False(image.ContainsKey("old")));
    }

    [Fact]
    public void Crash_WrittenAndNotSynced_TearsBetweenSectors()
    {
        Sync(Write("old", new string('a', 4 * VolumeFile.Sector)));
        Write("old", new string('b', 4 * VolumeFile.Sector));
        var images = Images().Select(static image => image["old"]).ToList();
        Assert.All(images, static content => Assert.All(content.Chunk(VolumeFile.Sector), static sector => Assert.Single(sector.Distinct())));
        Assert.Contains(images, static content => content.StartsWith('a') && content.EndsWith('b'));
        Assert.Contains(images, static content => content.StartsWith('b') && content.EndsWith('a'));
    }

    [Fact]
    public void Crash_SyncFailedAndTheNextOneSucceeded_DoesNotBelieveIt()
    {
        _volume.Failing = static _ => VolumeModel.InputOutputError;
        var path = Write("old", "after!");
        Assert.Equal(VolumeModel.InputOutputError, TrySync(path));
        _volume.Failing = null;
        Sync(path);
        Assert.Equal(["after!", "before"], Images().Select(static image => image["old"]).Distinct().Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Restart_KeepsTheCacheAndWhatItOwesTheDisk()
    {
        Write("old", "after!");
        var restarted = _volume.Restart(Directory.CreateDirectory(Path.Combine(_root, "restarted")).FullName);
        Assert.Equal("after!", File.ReadAllText(Path.Combine(restarted.Root, "old")));
        Assert.Equal(["after!", "before"], Images(restarted).Select(static image => image["old"]).Distinct().Order(StringComparer.Ordinal));
    }

    private string Write(string name, string content)
    {
        var path = Path.Combine(Disk, name);
        File.WriteAllText(path, content);
        return path;
    }

    private void Sync(string path) => Assert.Equal(0, TrySync(path));

    private int TrySync(string path)
    {
        using var file = NativeFile.OpenRead(path, out _);
        return _volume.Sync(file);
    }

    private List<Dictionary<string, string>> Images(VolumeModel? volume = null)
    {
        volume ??= _volume;
        volume.Look();
        var random = new Random(1);
        var images = new List<Dictionary<string, string>>();
        for (var number = 0; number < 100; number++)
        {
            var target = Directory.CreateDirectory(Path.Combine(_root, $"image-{Guid.NewGuid():N}"));
            volume.Crash(random, target.FullName);
            images.Add(target.EnumerateFiles().ToDictionary(static file => file.Name, static file => File.ReadAllText(file.FullName), StringComparer.Ordinal));
        }

        return images;
    }
}
