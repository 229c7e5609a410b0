using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring.Text;

namespace SafetyFilter.Scoring;

/// <summary>
/// Reads <c>manifest.json</c> by hand rather than by a serializer, so that every fault is reported at once with its path.
/// Members it does not know are documentation and are passed over.
/// </summary>
internal static class ManifestReader
{
    public const string ModelFile = "model.onnx";
    public const string GoldenFile = "golden.json";

    private const string ActionRemedy = "Use one of allow, label, age-restrict, demote, block.";
    private const int MaxRowLength = 65_536;

    /// <summary>The manifest, usable only if nothing was added to <paramref name="faults"/>.</summary>
    public static BundleManifest? Read(ReadOnlyMemory<byte> utf8, JsonFaults faults)
    {
        if (Parse(utf8, faults) is not { } document)
        {
            return null;
        }

        using (document)
        {
            var root = new JsonField(document.RootElement, "$", faults);
            var schema = root["schema"].Text($"Use '{BundleManifest.Schema}'.");
            if (schema != BundleManifest.Schema)
            {
                // What other schemas mean is unknown; further faults would only mislead.
                if (schema.Length > 0)
                {
                    root["schema"].Report($"'{schema}' is not a known schema.", $"Use '{BundleManifest.Schema}', or a build that knows it.");
                }

                return null;
            }

            var outputs = ReadOutputs(root["outputs"]);
            return new BundleManifest
            {
                Name = ReadName(root["name"]),
                Version = ReadVersion(root["version"]),
                Description = root["description"].Text("Say in a sentence what the bundle finds."),
                Owner = root["owner"].Text("Name who answers for the bundle."),
                Files = ReadFiles(root["files"]),
                Features = ReadFeatures(root["features"]),
                Outputs = outputs,
                Classifiers = ReadClassifiers(root["classifiers"], outputs),
                Purposes = ReadScope(root["purposes"], "List the purposes it may serve, or \"*\"."),
                Surfaces = ReadScope(root["surfaces"], "List the surfaces it may serve, or \"*\"."),
                Expires = ReadDate(root["expires"]),
                Training = ReadTraining(root["training"]),
            };
        }
    }

    /// <summary>Strict JSON: no comments, no trailing commas, only Unicode, and no name twice, because readers differ on which one counts.</summary>
    public static JsonDocument? Parse(ReadOnlyMemory<byte> utf8, JsonFaults faults)
    {
        JsonDocument? document = null;
        try
        {
            document = JsonDocument.Parse(utf8, new JsonDocumentOptions { AllowDuplicateProperties = false, MaxDepth = 32 });
            DecodeAll(document.RootElement);
            return document;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            document?.Dispose();
            faults.Add((error as JsonException)?.Path ?? "", $"It is not readable JSON: {error.Message} Correct the file.");
            return null;
        }
    }

    // A document parses with lone surrogates and invalid UTF-8 in it, and throws when such a string is read.
    private static void DecodeAll(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.String:
                _ = element.GetString();
                break;
            case JsonValueKind.Array:
                foreach (var item in element.EnumerateArray())
                {
                    DecodeAll(item);
                }

                break;
            case JsonValueKind.Object:
                foreach (var member in element.EnumerateObject())
                {
                    _ = member.Name;
                    DecodeAll(member.Value);
                }

                break;
        }
    }

    public static bool TryParseVersion(string text, out Version version) =>
        Version.TryParse(text, out version!) && version is { Build: >= 0, Revision: < 0 }
        && string.Equals(version.ToString(), text, StringComparison.Ordinal);

    private static string ReadName(JsonField field)
    {
        var name = field.Text("Give the name of the bundle's folder.");
        CheckLabel(field, name);
        return name;
    }

    private static string ReadVersion(JsonField field)
    {
        var version = field.Text("Give three numbers, like 1.0.0.");
        if (version.Length > 0 && !TryParseVersion(version, out _))
        {
            field.Report($"'{version}' is not a version.", "Give three numbers without leading zeros, like 1.0.0.");
        }

        return version;
    }

    private static ImmutableArray<BundleFile> ReadFiles(JsonField field)
    {
        const string Remedy = "List each file with its SHA-256 in hexadecimal, as sha256sum prints it.";
        var files = ImmutableArray.CreateBuilder<BundleFile>();
        foreach (var (name, value) in field.Members(Remedy))
        {
            // A plain name cannot lead out of the bundle's folder.
            if (name.Length == 0 || name is "." or ".." || name.AsSpan().ContainsAny('/', '\\', '\0'))
            {
                value.Report($"'{name}' is not a plain file name.", "Keep the bundle's files in its own folder.");
            }

            var hex = value.Text(Remedy);
            var hash = new byte[32];
            if (hex.Length > 0 && (hex.Length != 64 || Convert.FromHexString(hex, hash, out _, out _) != System.Buffers.OperationStatus.Done))
            {
                value.Report($"'{hex}' is not a SHA-256.", Remedy);
            }

            files.Add(new BundleFile(name, [.. hash]));
        }

        foreach (var needed in (ReadOnlySpan<string>)[ModelFile, GoldenFile])
        {
            if (field.Kind == JsonValueKind.Object && !field[needed].Exists)
            {
                field[needed].Report("is missing.", Remedy);
            }
        }

        return files.ToImmutable();
    }

    private static ImmutableArray<FeatureSpec> ReadFeatures(JsonField field)
    {
        const string Remedy = "List at least one feature of kind text or tensor.";
        var features = ImmutableArray.CreateBuilder<FeatureSpec>();
        var inputs = new HashSet<string>(StringComparer.Ordinal);
        foreach (var item in field.Items(Remedy))
        {
            var kind = item["kind"].Text("Use text or tensor.");
            var feature = item["feature"].Text("Give the feature's name as requests say it.");
            switch (kind)
            {
                case "text":
                    ReadText(item, feature, inputs, features);
                    break;
                case "tensor":
                    features.Add(ReadTensor(item, feature, inputs));
                    break;
                case not "":
                    item["kind"].Report($"'{kind}' is not a feature kind.", "Use text or tensor.");
                    break;
            }
        }

        if (field is { Kind: JsonValueKind.Array } && !field.Items(Remedy).Any())
        {
            field.Report("is empty.", Remedy);
        }

        return features.ToImmutable();
    }

    private static void ReadText(JsonField item, string feature, HashSet<string> inputs, ImmutableArray<FeatureSpec>.Builder features)
    {
        var indices = ReadInput(item["inputs"]["indices"], inputs);
        var scale = ReadInput(item["inputs"]["scale"], inputs);
        if (TextFeaturizerOptions.Parse(item["parameters"].Element, out var error) is { } options)
        {
            features.Add(new TextFeatureSpec(feature, indices, scale, options));
        }
        else
        {
            item["parameters"].Report(error!, "Copy the parameters that the model was trained with.");
        }
    }

    private static TensorFeatureSpec ReadTensor(JsonField item, string feature, HashSet<string> inputs)
    {
        const string ShapeRemedy = "Give the 1 to 3 dimensions of one candidate's row, such as [128].";
        var input = ReadInput(item["input"], inputs);
        var dtype = item["dtype"].Text("Use float32.");
        if (dtype is not ("" or "float32"))
        {
            item["dtype"].Report($"'{dtype}' is not a type that models read.", "Use float32; requests may send float16, which is widened.");
        }

        var shape = ImmutableArray.CreateBuilder<long>();
        var length = 1L;
        foreach (var dimension in item["shape"].Items(ShapeRemedy))
        {
            shape.Add(dimension.Integer(1, MaxRowLength, ShapeRemedy));
            length = Math.Min(length * shape[^1], MaxRowLength + 1);
        }

        if (item["shape"].Kind == JsonValueKind.Array && (shape.Count is 0 or > 3 || length > MaxRowLength))
        {
            item["shape"].Report($"has {shape.Count} dimensions and too few or too many numbers (at most {MaxRowLength}).", ShapeRemedy);
        }

        // Without it a caller's huge numbers would overflow to NaN inside the model, and count as the model's own fault.
        const string RangeRemedy = "Give [least, most], the numbers the model was made for.";
        double least = 0, most = 0;
        var range = item["range"].Items(RangeRemedy).Select(bound => bound.Number(float.MinValue, float.MaxValue, RangeRemedy)).ToArray();
        if (range is [var low, var high] && low <= high)
        {
            (least, most) = (low, high);
        }
        else if (item["range"].Kind == JsonValueKind.Array)
        {
            item["range"].Report("is not a pair of ascending numbers.", RangeRemedy);
        }

        return new TensorFeatureSpec(feature, input, shape.ToImmutable(), (float)least, (float)most);
    }

    private static string ReadInput(JsonField field, HashSet<string> inputs)
    {
        var input = field.Text("Name the graph input that reads it.");
        if (input.Length > 0 && !inputs.Add(input))
        {
            field.Report($"'{input}' is already fed by another feature.", "Feed each graph input once.");
        }

        return input;
    }

    private static ImmutableArray<OutputSpec> ReadOutputs(JsonField field)
    {
        const string Remedy = "List the graph outputs with a label for each column.";
        var outputs = ImmutableArray.CreateBuilder<OutputSpec>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        var labels = new HashSet<string>(StringComparer.Ordinal);
        foreach (var item in field.Items(Remedy))
        {
            var name = item["name"].Text("Name the graph output.");
            if (name.Length > 0 && !names.Add(name))
            {
                item["name"].Report($"'{name}' is listed twice.", "List each graph output once.");
            }

            var own = ImmutableArray.CreateBuilder<string>();
            foreach (var label in item["classifiers"].Items(Remedy))
            {
                var text = label.Text(Remedy);
                CheckLabel(label, text);
                if (text.Length > 0 && !labels.Add(text))
                {
                    label.Report($"'{text}' is listed twice.", "Give each classifier one column.");
                }

                own.Add(text);
            }

            if (item["classifiers"].Kind == JsonValueKind.Array && own.Count == 0)
            {
                item["classifiers"].Report("is empty.", Remedy);
            }

            outputs.Add(new OutputSpec(name, own.ToImmutable()));
        }

        if (field.Kind == JsonValueKind.Array && outputs.Count == 0)
        {
            field.Report("is empty.", Remedy);
        }

        return outputs.ToImmutable();
    }

    private static ImmutableArray<ClassifierSpec> ReadClassifiers(JsonField field, ImmutableArray<OutputSpec> outputs)
    {
        var labels = outputs.SelectMany(output => output.Labels).ToArray();
        foreach (var (name, value) in field.Members("Describe each classifier of the outputs."))
        {
            if (!labels.Contains(name, StringComparer.Ordinal))
            {
                value.Report($"'{name}' is a column of no output.", "Add it to an output's classifiers, or remove it.");
            }
        }

        var classifiers = ImmutableArray.CreateBuilder<ClassifierSpec>();
        foreach (var label in labels)
        {
            var own = field[label];
            if (!own.Exists)
            {
                if (field.Kind == JsonValueKind.Object)
                {
                    own.Report("is missing.", "Describe each classifier of the outputs.");
                }

                continue;
            }

            var calibration = own["calibration"];
            classifiers.Add(new ClassifierSpec(
                label,
                own["description"].Text("Say in a sentence what it finds."),
                ReadAction(own["maxAction"], own["maxAction"].Text(ActionRemedy)),
                new CalibrationSpec(calibration["method"].Text("Say how scores were calibrated, or none."), ReadNumbers(calibration)),
                ReadThresholds(own["thresholds"]),
                ReadNumbers(own["measured"])));
        }

        return classifiers.ToImmutable();
    }

    private static ImmutableSortedDictionary<CandidateAction, double> ReadThresholds(JsonField field)
    {
        var thresholds = ImmutableSortedDictionary.CreateBuilder<CandidateAction, double>();
        if (field.Exists)
        {
            foreach (var (name, value) in field.Members("Give action and score, such as { \"block\": 0.9 }."))
            {
                thresholds[ReadAction(value, name)] = value.Number(0, 1, "Use a probability.");
            }
        }

        return thresholds.ToImmutable();
    }

    private static CandidateAction ReadAction(JsonField field, string name)
    {
        switch (name)
        {
            case "allow": return CandidateAction.Allow;
            case "label": return CandidateAction.Label;
            case "age-restrict": return CandidateAction.AgeRestrict;
            case "demote": return CandidateAction.Demote;
            case "block": return CandidateAction.Block;
            case not "":
                field.Report($"'{name}' is not an action.", ActionRemedy);
                break;
        }

        return CandidateAction.Allow;
    }

    // Documentation: whatever is a number is kept, the rest is for people who open the file.
    private static ImmutableSortedDictionary<string, double> ReadNumbers(JsonField field)
    {
        var numbers = ImmutableSortedDictionary.CreateBuilder<string, double>(StringComparer.Ordinal);
        if (field.Kind == JsonValueKind.Object)
        {
            foreach (var (name, value) in field.Members(""))
            {
                if (value.Kind == JsonValueKind.Number)
                {
                    numbers[name] = value.Number(double.MinValue, double.MaxValue, "Use a finite number.");
                }
            }
        }

        return numbers.ToImmutable();
    }

    private static ImmutableArray<string> ReadScope(JsonField field, string remedy)
    {
        var scope = field.Texts(remedy);
        if (field.Kind == JsonValueKind.Array && scope.IsEmpty)
        {
            field.Report("is empty, so the bundle could serve nothing.", remedy);
        }

        return scope;
    }

    private static DateOnly ReadDate(JsonField field)
    {
        const string Remedy = "Give the last day of use like 2028-12-31.";
        var text = field.Text(Remedy);
        if (!DateOnly.TryParseExact(text, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var date) && text.Length > 0)
        {
            field.Report($"'{text}' is not a date.", Remedy);
        }

        return date;
    }

    private static TrainingSpec ReadTraining(JsonField field)
    {
        const string Remedy = "List file, sha256 and licences of each data set.";
        var datasets = ImmutableArray.CreateBuilder<DatasetSpec>();
        foreach (var item in field["datasets"].Items(Remedy))
        {
            datasets.Add(new DatasetSpec(item["file"].Text(Remedy), item["sha256"].Text(Remedy), item["licences"].Texts(Remedy)));
        }

        return new TrainingSpec(
            field["command"].Text("Give the command that made the model."),
            field["seed"].Integer(long.MinValue, long.MaxValue, "Give the seed of the training."),
            datasets.ToImmutable(),
            field["limits"].Text("Say what the model does not cover."));
    }

    // Classifier ids are bundle/label and travel through policies, metrics tags and file names.
    private static void CheckLabel(JsonField field, string label)
    {
        if (label.Length > 64 || label.AsSpan().ContainsAnyExcept("abcdefghijklmnopqrstuvwxyz0123456789-_"))
        {
            field.Report($"'{label}' is not a plain name.", "Use at most 64 of a-z, 0-9, - and _.");
        }
    }
}
