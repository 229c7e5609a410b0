using System.Diagnostics.Metrics;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Cli;
using SafetyFilter.Client;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Sidecar.Hosting;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>A host that brings the ledger's identity: its private key is in a key service, and never with the ledger.</summary>
public sealed class IdentitySignerTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-identity-");

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    private string Spool => Path.Combine(_folder.FullName, "spool");

    private string UnixSocket => Path.Combine(_folder.FullName, "filter.sock");

    private string ReadyFile => Path.Combine(_folder.FullName, "ready.json");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task Run_WithAKeyService_ItCertifiesEachRunAndAuditorsVerifyWithItsPublicKey()
    {
        using var service = new KeyService();
        for (var run = 1; run <= 2; run++)
        {
            Assert.Equal(0, await ServeOnceAsync(new KeyServiceIdentity(service.Address)));
            Assert.Equal(run, service.Signatures);
        }

        // An auditor has it from the service's operator.
        var publicKey = await new KeyServiceIdentity(service.Address).GetPublicKeyAsync(Cancelled);
        var verifier = NoteVerifier.Of(KeyServiceIdentity.KeyName, NoteSignatureType.Ed25519, publicKey.Span).Text;
        var (code, text) = Verify(verifier);
        Assert.True(code == 0, text);
        Assert.EndsWith("VERIFIED", text.TrimEnd(), StringComparison.Ordinal);
        Assert.Equal(verifier, (await File.ReadAllTextAsync(Path.Combine(Spool, "identity.pub"), Cancelled)).Trim());

        var starts = SpoolRecords.Read(Spool).Where(static record => record.Type == RecordType.EpochStart).Select(static record => EpochStart.Parser.ParseFrom(record.Bytes)).ToList();
        Assert.Equal([verifier, verifier], starts.ConvertAll(static start => start.Identity));
        Assert.NotEqual(starts[0].EpochKey, starts[1].EpochKey);

        // The file's key would have been made here. And not just any key is believed.
        Assert.False(File.Exists(Path.Combine(Spool, "identity.key")));
        using var stranger = NoteKey.Generate(KeyServiceIdentity.KeyName);
        Assert.Equal(1, Verify(stranger.Verifier.Text).Code);
    }

    [Fact]
    public async Task Run_KeyServiceIsDown_EndsWith1AndLeavesNothingBehind()
    {
        var nowhere = Path.Combine(_folder.FullName, "nobody.sock");
        Assert.Equal(1, await ServeOnceAsync(new KeyServiceIdentity(nowhere)));
        Assert.False(Directory.Exists(Spool));
    }

    [Theory]
    [InlineData(KeyFault.HasNoKey, "did not give its public key within 30 s (AccessDenied)")]
    [InlineData(KeyFault.GivesAKeyOfAnotherKind, "has a public key of 65 bytes that is none of Ed25519")]
    [InlineData(KeyFault.RefusesToSign, "did not sign within 30 s (AccessDenied)")]
    [InlineData(KeyFault.NeverSigns, "did not sign within 2 s")]
    [InlineData(KeyFault.SignsWithAnotherKey, "gave 64 bytes that are no signature by its public key test/key-service+")]
    public void Open_KeyServiceFails_SaysSoAndBeginsNoEpoch(KeyFault fault, string told)
    {
        using var meter = new Meter("test");
        using (var service = new KeyService(fault))
        {
            var error = Assert.Throws<LedgerException>(() => Open(meter, service, TimeSpan.FromSeconds(fault == KeyFault.NeverSigns ? 2 : 30)));
            Assert.Contains($"'{KeyServiceIdentity.KeyName}' of {nameof(KeyServiceIdentity)} {told}", error.Message, StringComparison.Ordinal);
            Assert.Contains("No epoch was begun.", error.Message, StringComparison.Ordinal);
            Assert.False(File.Exists(Path.Combine(Spool, "identity.pub")));
        }

        // Nothing holds the folder, and the number of the epoch that did not begin is not used up.
        using var healthy = new KeyService();
        using var ledger = Open(meter, healthy, TimeSpan.FromSeconds(30));
        Assert.Equal(1U, ledger.Spool.Epoch);
    }

    private DecisionLedger Open(Meter meter, KeyService service, TimeSpan patience)
    {
        var options = new LedgerOptions { Spool = { Folder = Spool }, Signing = { IdentityPatience = patience } };
        return DecisionLedger.Open(options, "test", TimeProvider.System, meter, NullLoggerFactory.Instance, new KeyServiceIdentity(service.Address));
    }

    /// <summary>The sidecar in this process, as a host of its own making runs it: until it has answered once.</summary>
    private async Task<int> ServeOnceAsync(IIdentitySigner identity)
    {
        var stop = new TaskCompletionSource<IHostApplicationLifetime>(TaskCreationOptions.RunContinuationsAsynchronously);
        var running = Task.Run(
            () => SidecarHost.RunAsync(
                [
                    $"--Listen:UnixSocket={UnixSocket}", "--Listen:Tcp=", "--Listen:Metrics=", $"--Listen:ReadyFile={ReadyFile}", $"--Ledger:Spool:Folder={Spool}",
                    "--Logging:LogLevel:Default=None",
                ],
                services => services.AddSingleton(provider =>
                {
                    stop.SetResult(provider.GetRequiredService<IHostApplicationLifetime>());
                    return identity;
                })),
            Cancelled);
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(20));
        while (!File.Exists(ReadyFile))
        {
            if (running.IsCompleted)
            {
                return await running;
            }

            await timer.WaitForNextTickAsync(Cancelled);
        }

        using (var client = SafetyFilterClient.Connect("unix:" + UnixSocket, new SafetyFilterClientOptions { Deadline = TimeSpan.FromSeconds(30) }))
        {
            var query = new FilterQuery { Surface = "for-you" };
            query.AddCandidate("video:1", "v1", "en").Text("text", "Ten quiet walks in the Alps");
            await client.FilterAsync(query, Cancelled);
        }

        (await stop.Task).StopApplication();
        return await running;
    }

    private (int Code, string Text) Verify(string identity)
    {
        var file = Path.Combine(_folder.FullName, "pinned.pub");
        File.WriteAllText(file, identity + "\n", Encoding.ASCII);
        var output = new StringWriter();
        var code = AuditCommand.Create().Parse(["verify", Spool, "--identity", file, "--strict"]).Invoke(new() { Output = output, Error = output });
        return (code, output.ToString());
    }
}
