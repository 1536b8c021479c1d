// The commands and their options.

using System.CommandLine;

namespace AssignHub.Api.Cli;

internal static class CommandLine
{
    private static readonly Option<string> Sysfs = new("--sysfs") { Description = "the sysfs of a synthetic host", HelpName = "DIR" };
    private static readonly Option<string> Proc = new("--proc") { Description = "the /proc of a synthetic host", HelpName = "DIR" };
    private static readonly Option<string> Data = new("--data") { Description = "database, guest runtime files and the first token (/var/lib/assignhub)", HelpName = "DIR" };

    private static readonly Option<string> RecursiveProc = new("--proc") { Description = Proc.Description, HelpName = "DIR", Recursive = true };

    public static RootCommand Build() => new("AssignHub hands PCI devices to virtual machines.") { Serve(), Doctor(), Scan(), Token(), OpenApi() };

    private static Command Serve()
    {
        var listen = new Option<string>("--listen") { Description = "where to listen (http://127.0.0.1:8080)", HelpName = "URL" };
        var plain = new Option<bool>("--allow-plaintext") { Description = "listen beyond loopback without TLS" };
        var open = new Option<bool>("--allow-noiommu") { Description = "let groups without an IOMMU be claimed, which isolate nothing" };
        var command = new Command("serve", "Run the service") { listen, Data, plain, open, Sysfs, Proc };
        command.SetAction((parsed, cancellation) => ServeCommand.RunAsync(
            settings => settings with
            {
                Listen = parsed.GetValue(listen) ?? settings.Listen,
                Data = parsed.GetValue(Data) ?? settings.Data,
                AllowPlaintext = parsed.GetValue(plain) || settings.AllowPlaintext,
                AllowNoIommu = parsed.GetValue(open) || settings.AllowNoIommu,
                Sysfs = parsed.GetValue(Sysfs) ?? settings.Sysfs,
                Proc = parsed.GetValue(Proc) ?? settings.Proc,
            },
            cancellation));
        return command;
    }

    private static Command Doctor()
    {
        var json = new Option<bool>("--json") { Description = "as JSON, the same as GET /v1/host" };
        var command = new Command("doctor", "Show what keeps this host from assigning devices, and the fix; exits with 0 if it can, 1 if it cannot, 2 if that could not be told")
        {
            json, Data, Sysfs, Proc,
        };
        command.SetAction(parsed => DoctorCommand.Run(
            settings => settings with
            {
                Data = parsed.GetValue(Data) ?? settings.Data,
                Sysfs = parsed.GetValue(Sysfs) ?? settings.Sysfs,
                Proc = parsed.GetValue(Proc) ?? settings.Proc,
            },
            parsed.GetValue(json)));
        return command;
    }

    private static Command Scan()
    {
        var json = new Option<bool>("--json") { Description = "as JSON, the same as GET /v1/groups" };
        var command = new Command("scan", "Show the host's groups, and what is assignable and why not") { json, Sysfs, Proc };
        command.SetAction(parsed => ScanCommand.Run(parsed.GetValue(Sysfs), parsed.GetValue(Proc), parsed.GetValue(json)));
        return command;
    }

    private static Command Token()
    {
        var data = new Option<string>("--data") { Description = "the service's data directory (/var/lib/assignhub)", HelpName = "DIR", Recursive = true };
        var name = new Option<string>("--name") { Description = "whose it is, or what for", Required = true };
        var role = new Option<Http.Role>("--role") { Description = "viewer, operator or admin", Required = true };
        var lifetime = new Option<int?>("--expires-in-seconds") { Description = "when it ends by itself; never if left out", HelpName = "N" };
        var which = new Argument<string>("token") { Description = "its name or id" };
        string Data(ParseResult parsed) => parsed.GetValue(data) ?? Settings.Read().Data;
        var create = new Command("create", "Make a token, and show it this once") { name, role, lifetime };
        create.SetAction(parsed => TokenCommand.Create(Data(parsed), parsed.GetValue(RecursiveProc), parsed.GetValue(name)!, parsed.GetValue(role), parsed.GetValue(lifetime)));
        var list = new Command("list", "Show the tokens that there are");
        list.SetAction(parsed => TokenCommand.List(Data(parsed), parsed.GetValue(RecursiveProc)));
        var revoke = new Command("revoke", "End a token") { which };
        revoke.SetAction(parsed => TokenCommand.Revoke(Data(parsed), parsed.GetValue(RecursiveProc), parsed.GetValue(which)!));
        return new Command("token", "Make, show and revoke tokens; the service may run meanwhile") { create, list, revoke, data, RecursiveProc };
    }

    private static Command OpenApi()
    {
        var command = new Command("openapi", "Write the API's OpenAPI document");
        command.SetAction(async (_, _) =>
        {
            await using Microsoft.AspNetCore.Builder.WebApplication app = Service.Build(new Settings());
            await Console.Out.WriteAsync(await Http.OpenApi.WriteAsync(app.Services).ConfigureAwait(false)).ConfigureAwait(false);
        });
        return command;
    }
}
