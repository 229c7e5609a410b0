using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Google.Protobuf.Collections;
using SafetyFilter.V1;

namespace SafetyFilter.Client;

/// <summary>One request: a surface, a viewer and candidates, which are added as rows and kept as the wire's columns.</summary>
/// <remarks>
/// Reusable: <see cref="Clear"/> keeps the memory, and no object is made per candidate. Not thread-safe. Limits are the
/// sidecar's and are checked there (1 to 1000 candidates by default, ids of 1 to 256 bytes, 8 texts, 16 tensors, 32 attributes).
/// </remarks>
public sealed class FilterQuery
{
    private FilterRequest _request = new() { Viewer = new ViewerContext() };
    private readonly List<TensorRows> _tensors = [];

    /// <summary>Where the recommendations show, e.g. <c>for-you</c>. Kept by <see cref="Clear"/>, as are the viewer and the purpose.</summary>
    public string Surface { get => _request.Surface; set => _request.Surface = value; }

    /// <summary>The caller's name for this request, 1 to 128 bytes; a fresh UUIDv7 per call when left empty.</summary>
    public string RequestId { get; set; } = "";

    /// <summary>What the scores are used for; empty means <c>recommendation</c>.</summary>
    public string Purpose { get => _request.Purpose; set => _request.Purpose = value; }

    /// <summary>The viewer's territory, ISO 3166-1 alpha-2; empty for unknown.</summary>
    public string Territory { get => _request.Viewer.Territory; set => _request.Viewer.Territory = value; }

    /// <summary>The viewer's age band, e.g. <c>13-17</c> or <c>adult</c>; empty for unknown.</summary>
    public string AgeBand { get => _request.Viewer.AgeBand; set => _request.Viewer.AgeBand = value; }

    /// <summary>The experiment arm that the request belongs to; empty for none.</summary>
    public string Experiment { get => _request.Viewer.Experiment; set => _request.Viewer.Experiment = value; }

    /// <summary>Whose data this is: a pseudonym that stays the same for one person, 0 to 64 bytes. Never recorded; fields that a policy seals can be erased by it.</summary>
    public string Subject { get => _request.Viewer.Subject; set => _request.Viewer.Subject = value; }

    /// <summary>Whether the answer carries scores: 4 bytes per candidate and classifier.</summary>
    public bool ReturnScores { get => _request.ReturnScores; set => _request.ReturnScores = value; }

    /// <summary>The time this call may take; null for the client's.</summary>
    public TimeSpan? Deadline { get; set; }

    /// <summary>What this page gets when the sidecar gives no decision; null for the client's. Hard surfaces fail closed whatever it says.</summary>
    public LocalFailMode? FailMode { get; set; }

    /// <summary>
    /// The caller's own key for this page, 0 to 64 bytes, the same for every attempt at it; a fresh one of 128 random bits per call when left empty.
    /// </summary>
    public string IdempotencyKey { get; set; } = "";

    /// <summary>Number of candidates.</summary>
    public int Count => _request.CandidateIds.Count;

    /// <summary>Adds a candidate and returns its row, to which features and attributes are added until the next one is added.</summary>
    /// <param name="id">1 to 256 bytes of UTF-8; need not be unique.</param>
    /// <param name="contentVersion">What changes when the content changes; 0 to 128 bytes.</param>
    /// <param name="language">BCP 47; empty for unknown.</param>
    public CandidateRow AddCandidate(string id, string contentVersion = "", string language = "")
    {
        ArgumentNullException.ThrowIfNull(id);
        _request.CandidateIds.Add(id);
        if (!string.IsNullOrEmpty(contentVersion))
        {
            Put(_request.ContentVersions, Count - 1, contentVersion, "");
        }

        if (!string.IsNullOrEmpty(language))
        {
            Put(_request.Languages, Count - 1, language, "");
        }

        return new CandidateRow(this, Count - 1);
    }

    /// <summary>Takes the candidates, the request id, the key, the deadline and the fail mode away and keeps the rest, and the memory.</summary>
    public void Clear()
    {
        RequestId = "";
        IdempotencyKey = "";
        Deadline = null;
        FailMode = null;
        _request.CandidateIds.Clear();
        _request.ContentVersions.Clear();
        _request.Languages.Clear();
        // By index: a repeated field's enumerator is an object.
        for (var i = 0; i < _request.Texts.Count; i++)
        {
            var column = _request.Texts[i];
            column.Values.Clear();
            column.Missing.Clear();
        }

        for (var i = 0; i < _request.Attributes.Count; i++)
        {
            var column = _request.Attributes[i];
            column.Strings.Clear();
            column.Numbers.Clear();
            column.Flags.Clear();
        }

        foreach (var tensor in _tensors)
        {
            tensor.Clear();
        }
    }

    internal void SetText(int row, string name, string value)
    {
        ThrowIfClosed(row, name);
        var column = Find(_request.Texts, static (c, n) => c.Name == n, name);
        if (column is null)
        {
            _request.Texts.Add(column = new TextColumn { Name = name });
        }

        PadText(column, row);
        if (column.Values.Count > row)
        {
            column.Values[row] = value;
        }
        else
        {
            column.Values.Add(value);
        }
    }

    internal void SetTensor<T>(int row, string name, ReadOnlySpan<T> values, DataType type)
        where T : unmanaged
    {
        ThrowIfClosed(row, name);
        TensorRows? tensor = null;
        foreach (var each in CollectionsMarshal.AsSpan(_tensors))
        {
            tensor = each.Name == name ? each : tensor;
        }

        if (tensor is null)
        {
            _tensors.Add(tensor = new TensorRows(name));
        }

        tensor.Set(row, values, type);
    }

    internal void SetString(int row, string name, string value) => Put(Attribute(row, name, a => a.Numbers.Count + a.Flags.Count).Strings, row, value, "");

    internal void SetNumber(int row, string name, double value) =>
        Put(Attribute(row, name, a => a.Strings.Count + a.Flags.Count).Numbers, row, value, double.NaN);

    internal void SetFlag(int row, string name, bool value) => Put(Attribute(row, name, a => a.Strings.Count + a.Numbers.Count).Flags, row, value, false);

    /// <summary>Makes all columns as long as the ids and returns the message. It stays this query's.</summary>
    internal FilterRequest Seal()
    {
        _request.RequestId = RequestId.Length > 0 ? RequestId : Guid.CreateVersion7().ToString();
        _request.IdempotencyKey = IdempotencyKey;
        _request.Attempt = 0;
        if (_request.ContentVersions.Count > 0)
        {
            Pad(_request.ContentVersions, Count, "");
        }

        if (_request.Languages.Count > 0)
        {
            Pad(_request.Languages, Count, "");
        }

        SealTexts();
        SealAttributes();
        _request.Tensors.Clear();
        foreach (var tensor in _tensors)
        {
            if (tensor.IsUsed)
            {
                _request.Tensors.Add(tensor.Seal(Count));
            }
        }

        return _request;
    }

    /// <summary>Seals it for a call that may be sent again: under a key that all its attempts share.</summary>
    internal FilterRequest SealForAttempts()
    {
        var request = Seal();
        if (request.IdempotencyKey.Length == 0)
        {
            Span<byte> key = stackalloc byte[16];
            RandomNumberGenerator.Fill(key);
            request.IdempotencyKey = Convert.ToHexStringLower(key);
        }

        return request;
    }

    /// <summary>
    /// Leaves the sealed message to the call that failed, which may still be writing it, and goes on with a copy of it. Without this a
    /// caller that fills the query again at once could have a mixture of two pages sent.
    /// </summary>
    internal FilterRequest Detach()
    {
        _request = _request.Clone();
        foreach (var tensor in _tensors)
        {
            tensor.Detach();
        }

        // The copy names the buffers of before, which nobody writes to any more.
        return _request;
    }

    private void SealTexts()
    {
        for (var i = _request.Texts.Count - 1; i >= 0; i--)
        {
            var column = _request.Texts[i];
            if (column.Values.Count == 0)
            {
                // Left over from before a Clear; the new rows do not have it.
                _request.Texts.RemoveAt(i);
                continue;
            }

            PadText(column, Count);
        }
    }

    private void SealAttributes()
    {
        for (var i = _request.Attributes.Count - 1; i >= 0; i--)
        {
            var column = _request.Attributes[i];
            if (column.Strings.Count > 0)
            {
                Pad(column.Strings, Count, "");
            }
            else if (column.Numbers.Count > 0)
            {
                Pad(column.Numbers, Count, double.NaN);
            }
            else if (column.Flags.Count > 0)
            {
                Pad(column.Flags, Count, false);
            }
            else
            {
                _request.Attributes.RemoveAt(i);
            }
        }
    }

    private static void PadText(TextColumn column, int count)
    {
        while (column.Values.Count < count)
        {
            column.Missing.Add((uint)column.Values.Count);
            column.Values.Add("");
        }
    }

    private static void Pad<T>(RepeatedField<T> column, int count, T filler)
    {
        while (column.Count < count)
        {
            column.Add(filler);
        }
    }

    private static void Put<T>(RepeatedField<T> column, int row, T value, T filler)
    {
        Pad(column, row, filler);
        if (column.Count > row)
        {
            column[row] = value;
        }
        else
        {
            column.Add(value);
        }
    }

    private AttributeColumn Attribute(int row, string name, Func<AttributeColumn, int> otherKinds)
    {
        ThrowIfClosed(row, name);
        var column = Find(_request.Attributes, static (c, n) => c.Name == n, name);
        if (column is null)
        {
            _request.Attributes.Add(column = new AttributeColumn { Name = name });
        }
        else if (otherKinds(column) > 0)
        {
            throw new ArgumentException($"Attribute '{name}' had values of another kind in earlier rows. Give it strings, numbers or flags only.", nameof(name));
        }

        return column;
    }

    // The columns are few; a search by name is cheaper than hashing it.
    private static T? Find<T>(RepeatedField<T> columns, Func<T, string, bool> match, string name)
        where T : class
    {
        for (var i = 0; i < columns.Count; i++)
        {
            if (match(columns[i], name))
            {
                return columns[i];
            }
        }

        return null;
    }

    private void ThrowIfClosed(int row, string name)
    {
        if (row != Count - 1)
        {
            throw new InvalidOperationException($"'{name}' was set on row {row}, but {Count} rows have been added. Fill a row before adding the next one.");
        }
    }
}
