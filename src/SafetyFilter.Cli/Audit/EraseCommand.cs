using System.CommandLine;
using System.Text;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;

namespace SafetyFilter.Cli.Audit;

/// <summary><c>safetyfilter audit erase</c>: destroys a subject's keys, and with them what was sealed under them. 0 destroyed, 1 there were none, 2 not done.</summary>
internal static class EraseCommand
{
    public static Command Create()
    {
        var keys = new Option<string>("--keys") { Description = "The file of subject keys, by default subjects.keys in the spool folder. The sidecar may be running.", Required = true };
        var subject = new Option<string>("--subject") { Description = "The subject, as requests name it in viewer.subject.", Required = true };
        var json = new Option<bool>("--json") { Description = "Print how many keys were destroyed as one JSON object." };
        var command = new Command("erase", "Destroy a subject's keys: fields sealed under them can never be read again. Exit codes: 0 destroyed, 1 there was none, 2 not done.")
        {
            keys,
            subject,
            json,
        };
        command.SetAction(parsed =>
        {
            try
            {
                using var file = SubjectKeyFile.Open(parsed.GetRequiredValue(keys), forErasing: true);
                var destroyed = file.Erase(Encoding.UTF8.GetBytes(parsed.GetRequiredValue(subject)));
                parsed.InvocationConfiguration.Output.WriteLine(parsed.GetValue(json)
                    ? JsonText.Write(writer => writer.WriteNumber("destroyed", destroyed))
                    : destroyed > 0
                    ? "The subject's key is destroyed and the disk has confirmed it. Copies of the file, such as backups, still have it: destroy those too."
                    : "The file has no key of this subject to destroy. It was destroyed before, or no record was ever sealed for the subject.");
                return destroyed > 0 ? AuditCommand.Verified : AuditCommand.Findings;
            }
            catch (LedgerException error)
            {
                parsed.InvocationConfiguration.Error.WriteLine(error.Message);
                return AuditCommand.Unreadable;
            }
        });
        return command;
    }
}
