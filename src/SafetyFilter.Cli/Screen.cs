using Spectre.Console;

namespace SafetyFilter.Cli;

internal static class Screen
{
    /// <summary>A console on standard output, or on what stands in for it; wide enough for a table where nothing says how wide it is.</summary>
    public static IAnsiConsole Open(TextWriter? output = null)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(output ?? Console.Out) });
        if (Console.IsOutputRedirected)
        {
            console.Profile.Width = 140;
        }

        return console;
    }
}
