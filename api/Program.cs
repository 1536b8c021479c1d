// assignhub: the command line. Each command is in Cli/.

using AssignHub.Api.Cli;

return await CommandLine.Build().Parse(args).InvokeAsync().ConfigureAwait(false);
