using System.CommandLine;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Cli.Audit;

/// <summary><c>--identity</c>: whose certificates an auditor believes.</summary>
internal sealed class IdentityOption
{
    private readonly Option<string[]> _option = new("--identity")
    {
        Description = "The verifier key of the identity that may certify epochs (name+hash+key), or a file with one a line, e.g. identity.pub. Repeatable. " +
            "Without it the first identity seen is trusted.",
        DefaultValueFactory = static _ => [],
    };

    public void AddTo(Command command) => command.Options.Add(_option);

    /// <summary>Null with a message when one cannot be read.</summary>
    public IReadOnlyList<NoteVerifier>? Read(ParseResult parsed, out string error)
    {
        error = "";
        var found = new List<NoteVerifier>();
        foreach (var value in parsed.GetValue(_option) ?? [])
        {
            try
            {
                foreach (var line in File.Exists(value) ? File.ReadAllLines(value) : [value])
                {
                    if (NoteVerifier.TryParse(line, out var verifier))
                    {
                        found.Add(verifier);
                    }
                    else if (line.Trim().Length > 0)
                    {
                        error = $"--identity '{value}' is neither a verifier key (name+hash+base64) nor a file of such keys.";
                        return null;
                    }
                }
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                error = $"--identity '{value}' cannot be read: {failure.Message}";
                return null;
            }
        }

        return found;
    }
}
