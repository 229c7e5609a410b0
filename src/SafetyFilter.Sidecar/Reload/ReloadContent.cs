using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using SafetyFilter.Policy;

namespace SafetyFilter.Sidecar.Reload;

/// <summary>What all watched files said at one look. It is used as it was read: what was compared is what is taken.</summary>
internal sealed class ReloadContent
{
    private readonly string _folder;
    private readonly Dictionary<string, string> _texts = new(StringComparer.Ordinal);

    private ReloadContent(string folder, IReadOnlyList<SettingsText> settings)
    {
        (_folder, Settings) = (folder, settings);
        (Policies, PolicyErrors) = PolicySource.ReadFolder(folder);
        foreach (var policy in Policies)
        {
            _texts[Path.Combine(folder, policy.Name)] = policy.Text;
        }

        foreach (var text in settings)
        {
            _texts[text.Path] = text.Bytes is null ? text.Error ?? "" : Convert.ToBase64String(text.Bytes);
        }

        using var sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var (path, text) in _texts)
        {
            Append(sha, path);
            Append(sha, text);
        }

        foreach (var error in PolicyErrors)
        {
            Append(sha, error.ToString());
        }

        Fingerprint = Convert.ToHexStringLower(sha.GetHashAndReset());
    }

    public IReadOnlyList<SettingsText> Settings { get; }

    public ImmutableArray<PolicySource> Policies { get; }

    /// <summary>Policy files that could not be read.</summary>
    public ImmutableArray<PolicyError> PolicyErrors { get; }

    /// <summary>SHA-256 over names, texts and what could not be read.</summary>
    public string Fingerprint { get; }

    public static ReloadContent Read(SettingsFiles settings, string policyFolder) => new(policyFolder, settings.Read());

    /// <summary>Files with another text than at an earlier look; the folder, when files only went.</summary>
    public IReadOnlyCollection<string> ChangedSince(ReloadContent? earlier)
    {
        var changed = _texts.Where(pair => earlier?._texts.GetValueOrDefault(pair.Key) != pair.Value).Select(static pair => pair.Key).ToList();
        return changed.Count > 0 ? changed : [_folder];
    }

    private static void Append(IncrementalHash sha, string text)
    {
        // With its length in front, so that no two lists of texts look the same.
        var bytes = Encoding.UTF8.GetBytes(text);
        sha.AppendData(BitConverter.GetBytes(bytes.Length));
        sha.AppendData(bytes);
    }
}
