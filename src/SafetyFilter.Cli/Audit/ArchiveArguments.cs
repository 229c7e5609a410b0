using System.CommandLine;
using SafetyFilter.Audit;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;

namespace SafetyFilter.Cli.Audit;

/// <summary>Where the policies, models and keys are that decisions were made with. Activation records of the ledger itself add to them.</summary>
internal sealed class ArchiveArguments
{
    private readonly Option<string[]> _policies = Folders("--policies", "Policy files of any revision (*.yaml), found by revision. Repeatable.");
    private readonly Option<string[]> _archives = Folders("--archive", "An archive: policies/{revision}.yaml and models/{sha256}/. Repeatable.");
    private readonly Option<string[]> _models = Folders("--models", "Model bundles, name/version/ as the sidecar has them. Repeatable.");
    private readonly Option<string?> _subjectKeys = new("--subject-keys") { Description = "The sidecar's file of subject keys: opens sealed fields.", HelpName = "FILE" };

    public void AddTo(Command command, bool models)
    {
        command.Options.Add(_policies);
        command.Options.Add(_archives);
        if (models)
        {
            command.Options.Add(_models);
        }

        command.Options.Add(_subjectKeys);
    }

    /// <summary>What is at hand, or null with a message.</summary>
    public Archives? Open(ParseResult parsed, out string error)
    {
        var archives = new Archives();
        error = "";
        foreach (var folder in (string[])[.. Value(parsed, _policies), .. Value(parsed, _archives), .. Value(parsed, _models)])
        {
            if (!Directory.Exists(folder))
            {
                error = $"'{folder}' is no folder. Name one that exists.";
                archives.Dispose();
                return null;
            }
        }

        foreach (var folder in (string[])[.. Value(parsed, _policies), .. Value(parsed, _archives).Select(static root => Path.Combine(root, "policies"))])
        {
            if (Directory.Exists(folder))
            {
                archives.Policies.AddFolder(folder);
            }
        }

        foreach (var folder in (string[])[.. Value(parsed, _models), .. Value(parsed, _archives).Select(static root => Path.Combine(root, "models"))])
        {
            if (Directory.Exists(folder))
            {
                archives.Bundles.AddFolder(folder);
            }
        }

        if (parsed.GetValue(_subjectKeys) is { } keys)
        {
            try
            {
                archives.Unseal(SubjectKeyFile.Open(keys));
            }
            catch (LedgerException problem)
            {
                error = problem.Message;
                archives.Dispose();
                return null;
            }
        }

        return archives;
    }

    private static string[] Value(ParseResult parsed, Option<string[]> option) => parsed.GetValue(option) ?? [];

    private static Option<string[]> Folders(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "FOLDER",
        DefaultValueFactory = static _ => [],
    };
}

/// <summary>Policies, bundles and keys that are at hand.</summary>
internal sealed class Archives : IDisposable
{
    private SubjectKeyFile? _keys;

    public PolicyArchive Policies { get; } = new();

    public BundleArchive Bundles { get; } = new();

    /// <summary>Null without keys.</summary>
    public SealOpener? Opener { get; private set; }

    public IEnumerable<string> Problems => Policies.Problems.Concat(Bundles.Problems);

    public void Unseal(SubjectKeyFile keys)
    {
        _keys = keys;
        Opener = new SubjectSeals(keys).Open;
    }

    /// <summary>Takes the policies that the ledger itself has.</summary>
    public void See(RecordType? type, ReadOnlySpan<byte> record)
    {
        if (type == RecordType.Activation)
        {
            Policies.AddActivation(record);
        }
    }

    public void Dispose()
    {
        Bundles.Dispose();
        _keys?.Dispose();
    }
}
