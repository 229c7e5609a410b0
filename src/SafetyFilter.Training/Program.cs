using System.CommandLine;
using System.Diagnostics;
using SafetyFilter.Training.Bundles;
using SafetyFilter.Training.Data;
using SafetyFilter.Training.Unicode;

var data = new Option<string>("--data") { Description = "Folder with the labelled data sets.", Required = true };
var output = new Option<string>("--out") { Description = "Folder that receives the bundles, as <name>/<version>/.", Required = true };
var seed = new Option<int>("--seed") { Description = "Seed of every random choice.", DefaultValueFactory = _ => 1 };
var train = new RootCommand("Trains the reference bundles text-safety and embedding-safety.") { data, output, seed };
train.SetAction(parsed =>
{
    var watch = Stopwatch.StartNew();
    string folder = parsed.GetRequiredValue(data), root = parsed.GetRequiredValue(output);
    var samples = Corpus.Load(folder);
    var templates = Corpus.Load(folder, "bias_templates", "toxic", Corpus.Toxicity).ToList();
    Console.WriteLine($"{watch.Elapsed:mm\\:ss} read {samples.Count} samples");
    var teacher = TextSafety.Build(folder, root, parsed.GetValue(seed), samples, templates);
    Console.WriteLine($"{watch.Elapsed:mm\\:ss} wrote text-safety");
    EmbeddingSafety.Build(folder, root, parsed.GetValue(seed), samples, templates, teacher);
    Console.WriteLine($"{watch.Elapsed:mm\\:ss} wrote embedding-safety");
});

var table = new Option<string>("--file") { Description = "The table to write.", Required = true };
var unicode = new Command("unicode-fold", "Writes the table behind TextNormalizer. Every model must be trained anew after it.") { data, table };
unicode.SetAction(parsed => File.WriteAllText(parsed.GetRequiredValue(table), UnicodeFoldWriter.Write(parsed.GetRequiredValue(data))));
train.Subcommands.Add(unicode);

return train.Parse(args).Invoke();
