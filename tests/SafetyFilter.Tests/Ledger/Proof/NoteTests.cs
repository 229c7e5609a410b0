using CsCheck;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Tests.Ledger.Proof;

public sealed class NoteTests : IDisposable
{
    // golang.org/x/mod/sumdb/note, its package example.
    private const string GoKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    private const string GoNote =
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n" +
        "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    private readonly LedgerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Verify_TheExampleOfGosNotes_IsSigned()
    {
        Assert.True(NoteVerifier.TryParse(GoKey, out var key));
        Assert.True(SignedNote.TryParse(GoNote, out var note));

        Assert.Equal((GoKey, "PeterNeumann"), (key.Text, key.Name));
        Assert.True(note.IsSignedBy(key));
        Assert.Equal(GoNote, note.ToString());
    }

    [Fact]
    public void Verify_AChangedText_IsNotSigned()
    {
        Assert.True(NoteVerifier.TryParse(GoKey, out var key));
        Assert.True(SignedNote.TryParse(GoNote.Replace("know", "now", StringComparison.Ordinal), out var note));

        Assert.False(note.IsSignedBy(key));
    }

    [Theory]
    [InlineData("")]
    [InlineData("PeterNeumann")]
    [InlineData("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")] // another hash
    [InlineData("PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")] // not as it is written
    [InlineData("Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")]
    [InlineData("PeterNeumann+c74f20a3+AhpcZ2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T")]
    [InlineData("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T")]
    public void TryParse_WhatIsNoVerifierKey_IsRefused(string text) => Assert.False(NoteVerifier.TryParse(text, out _));

    [Theory]
    [InlineData("")]
    [InlineData("text\n")]
    [InlineData("text\n\n")]
    [InlineData("text\n\n\u2014 name AAAAAAA=")] // no line feed at the end
    [InlineData("text\n\n- name AAAAAAA=\n")]
    [InlineData("text\n\n\u2014 name AAA=\n")] // shorter than a key id
    [InlineData("te\u0001xt\n\n\u2014 name AAAAAAA=\n")]
    public void TryParse_WhatIsNoNote_IsRefused(string note) => Assert.False(SignedNote.TryParse(note, out _));

    [Fact]
    public void Sign_AnyText_IsReadBackAndSignedByThatKeyOnly() =>
        Gen.String[Gen.Char.AlphaNumeric, 1, 40].Array[1, 5].Sample(
            lines =>
            {
                using var key = NoteKey.Generate("some/name");
                using var other = NoteKey.Generate("some/name");
                var text = string.Join('\n', lines) + "\n";

                Assert.True(SignedNote.TryParse(SignedNote.Sign(text, key).ToString(), out var note));

                Assert.Equal(text, note.Text);
                Assert.True(note.IsSignedBy(key.Verifier));
                Assert.False(note.IsSignedBy(other.Verifier));
            },
            iter: 20);

    [Fact]
    public void Cosign_ByAWitness_IsSignedByBothAndSaysWhen()
    {
        using var key = NoteKey.Generate("writer");
        using var witness = NoteKey.Generate("witness", NoteSignatureType.Cosignature);
        var note = SignedNote.Sign("text\n", key);
        note.Cosign(witness, DateTimeOffset.FromUnixTimeSeconds(1_700_000_000));

        Assert.True(SignedNote.TryParse(note.ToString(), out var read));
        Assert.True(read.IsSignedBy(key.Verifier));
        Assert.True(read.IsSignedBy(witness.Verifier));
        Assert.True(SignedNote.TryParse(note.ToString().Replace("text", "next", StringComparison.Ordinal), out var forged));
        Assert.False(forged.IsSignedBy(witness.Verifier));
    }

    [Fact]
    public void CheckpointText_AnyValues_IsReadBack() =>
        Gen.Select(Gen.Guid, Gen.ULong, Gen.UInt, Gen.ULong, Gen.ULong.Nullable()).Sample((stream, size, epoch, time, decisions) =>
        {
            var text = new CheckpointText(stream, size, TreeHash.EmptyLeaf, epoch, time, decisions);
            Assert.True(CheckpointText.TryParse(text.ToString(), out var read));
            Assert.Equal(text, read);
            Assert.False(CheckpointText.TryParse(text + "more\n", out _));
        });

    [Fact]
    public void CheckpointText_IsWhatTheReadmeSays() => Assert.Equal(
        "safetyfilter/0193b3a0f1c27d4e8a5b6c7d8e9f0a1b\n7\nbjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=\nepoch 3\ntime 5\nend 2\n",
        new CheckpointText(Guid.Parse("0193b3a0-f1c2-7d4e-8a5b-6c7d8e9f0a1b"), 7, TreeHash.EmptyLeaf, 3, 5, 2).ToString());

    [Fact]
    public void LoadOrCreate_TwoTimes_IsOneIdentityThatOnlyItsOwnerReads()
    {
        var path = Path.Combine(_folder.Path, "some.key");
        using var first = NoteKey.LoadOrCreate(path, "some/name");
        using var again = NoteKey.LoadOrCreate(path, "another/name");

        Assert.Equal(first.Verifier.Text, again.Verifier.Text);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        Assert.StartsWith("PRIVATE+KEY+some/name+", File.ReadAllText(path), StringComparison.Ordinal);
        Assert.True(SignedNote.Sign("text\n", first).IsSignedBy(again.Verifier));
    }

    [Theory]
    [InlineData("")]
    [InlineData("PRIVATE+KEY+name+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")] // another key's hash
    [InlineData("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")] // the public half
    [InlineData("-----BEGIN PRIVATE KEY-----")]
    public void LoadOrCreate_AFileThatHoldsNoKey_IsRefusedWithARemedyAndKept(string content)
    {
        var path = Path.Combine(_folder.Path, "some.key");
        File.WriteAllText(path, content);

        var error = Assert.Throws<LedgerException>(() => NoteKey.LoadOrCreate(path, "some/name"));

        Assert.Contains(path, error.Message, StringComparison.Ordinal);
        Assert.Contains("Restore it", error.Message, StringComparison.Ordinal);
        Assert.Equal(content, File.ReadAllText(path));
    }

    [Fact]
    public void LoadOrCreate_WhereNoFileCanBe_SaysSo()
    {
        var error = Assert.Throws<LedgerException>(() => NoteKey.LoadOrCreate(Path.Combine(_folder.Path, "none", "some.key"), "some/name"));

        Assert.Contains("cannot be read or made", error.Message, StringComparison.Ordinal);
    }
}
