// assignhub serve

namespace AssignHub.Api.Cli;

internal static class ServeCommand
{
    /// <summary>Of the data directory.</summary>
    public const UnixFileMode DataMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    public static async Task<int> RunAsync(Func<Settings, Settings> options, CancellationToken cancellation)
    {
        Settings settings;
        try
        {
            settings = options(Settings.Read());
        }
        catch (InvalidDataException wrong)
        {
            return await FailAsync(wrong.Message).ConfigureAwait(false);
        }

        if (settings.Problem() is { } problem)
        {
            return await FailAsync(problem).ConfigureAwait(false);
        }

        try
        {
            // Guests' processes pass through to their own directories; the files beside those are root's alone.
            Directory.CreateDirectory(settings.Data, DataMode);
            await using WebApplication app = Service.Build(settings);
            await app.RunAsync(cancellation).ConfigureAwait(false);
            return 0;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or InvalidDataException or Microsoft.Data.Sqlite.SqliteException or Engine.HostFault)
        {
            return await FailAsync(error.Message).ConfigureAwait(false);
        }
    }

    private static async Task<int> FailAsync(string message)
    {
        await Console.Error.WriteLineAsync($"assignhub: {message}").ConfigureAwait(false);
        return 1;
    }
}
