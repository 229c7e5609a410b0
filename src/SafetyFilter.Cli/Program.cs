using System.CommandLine;

return await new RootCommand("A safety filter beside a recommendation ranker: see it work, load it, audit what it decided.").Parse(args).InvokeAsync();
