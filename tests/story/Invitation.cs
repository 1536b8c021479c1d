// What a person is told once the service is up, and the wait until they have had enough.

namespace AssignHub.Story;

internal static class Invitation
{
    public static void Write(Uri url, string token) => Console.WriteLine($"""

        AssignHub is up at {url.GetLeftPart(UriPartial.Authority)}; Swagger UI is at {new Uri(url, "/swagger")}
        token: {token}

          curl -H "Authorization: Bearer {token}" {new Uri(url, "/v1/groups")}

        Ctrl-C ends it.
        """);

    public static async Task UntilInterruptedAsync(CancellationToken cancellation)
    {
        try
        {
            await Task.Delay(Timeout.Infinite, cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            Console.WriteLine("ending");
        }
    }
}
