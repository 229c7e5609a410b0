using System.Globalization;
using System.Runtime.InteropServices;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>Which core the measured server has, and which one the load comes from.</summary>
internal sealed partial record Cores(int Server, int Client)
{
    // Bits of the mask below.
    private const int Most = 64;

    /// <summary>What is wrong with them on this machine, or null.</summary>
    public string? Error(int processors) => this switch
    {
        { Server: var server, Client: var client } when server == client =>
            $"--server-core and --client-core are both {server}. On one core, load and server would measure each other: use two.",
        { Server: var server } when server < 0 || server >= Math.Min(processors, Most) =>
            $"--server-core {server} is outside 0 to {Math.Min(processors, Most) - 1}.",
        { Client: var client } when client < 0 || client >= Math.Min(processors, Most) =>
            $"--client-core {client} is outside 0 to {Math.Min(processors, Most) - 1}.",
        _ => null,
    };

    /// <summary>Keeps this process, with the threads that it has and those to come, on the client's core.</summary>
    /// <exception cref="IOException">The system does not allow it.</exception>
    public void PinClient()
    {
        var mask = 1UL << Client;
        foreach (var thread in Directory.EnumerateDirectories("/proc/self/task"))
        {
            // A thread may have ended meanwhile.
            if (SetAffinity(int.Parse(Path.GetFileName(thread), CultureInfo.InvariantCulture), sizeof(ulong), mask) != 0 && Directory.Exists(thread))
            {
                throw new IOException($"The load cannot be pinned to core {Client} (error {Marshal.GetLastPInvokeError()}). Use a core that this process may run on (taskset -p $$).");
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "sched_setaffinity", SetLastError = true)]
    private static partial int SetAffinity(int thread, nuint size, in ulong mask);
}
