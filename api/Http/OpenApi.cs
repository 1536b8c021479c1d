// The OpenAPI document: what endpoints say of themselves beyond their types, and how it becomes openapi.yaml.

using System.Globalization;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using Microsoft.OpenApi;
using Swashbuckle.AspNetCore.Swagger;
using Swashbuckle.AspNetCore.SwaggerGen;

namespace AssignHub.Api.Http;

/// <summary>A parameter that a handler reads by itself.</summary>
internal sealed record Parameter(string Name, ParameterLocation In, string Description, JsonSchemaType Type);

/// <summary>Text of another media type that an endpoint answers with when it is asked for.</summary>
internal sealed record TextAlternative(string MediaType, string Description);

/// <summary>That an endpoint answers a dry run with the plan, on the status that it answers with when it is done.</summary>
internal sealed record PlanInstead;

/// <summary>The parameters that several endpoints share.</summary>
internal static class Parameters
{
    public static Parameter[] Paging { get; } =
    [
        new("limit", ParameterLocation.Query, "The most items on the page.", JsonSchemaType.Integer),
        new("cursor", ParameterLocation.Query, "The `next` of the page before.", JsonSchemaType.String),
    ];

    public static Parameter[] Wait { get; } = [new("wait", ParameterLocation.Query, "Answer when it ends, or after so many seconds (at most 300).", JsonSchemaType.Integer)];

    public static Parameter[] Force { get; } = [new("force", ParameterLocation.Query, "Whether to go on without the guest's consent.", JsonSchemaType.Boolean)];

    public static Parameter[] Evict { get; } =
        [new("evict", ParameterLocation.Query, "Whether running guests give up the devices that it hits, and get them back after.", JsonSchemaType.Boolean)];

    public static Parameter[] Change { get; } =
    [
        new("dryRun", ParameterLocation.Query, "Answer with the plan, or all refusals, and change nothing.", JsonSchemaType.Boolean),
        new("Prefer", ParameterLocation.Header, "`wait=N`: answer when it is done, or after N seconds (RFC 7240).", JsonSchemaType.String),
    ];

    public static Parameter[] IfMatch { get; } =
        [new("If-Match", ParameterLocation.Header, "The `ETag` that the client saw: refused with 412 if the resource is no longer like that.", JsonSchemaType.String)];

    public static Parameter[] IfNoneMatch { get; } =
        [new("If-None-Match", ParameterLocation.Header, "The `ETag` that the client has: answered with 304 if the resource is still like that.", JsonSchemaType.String)];

    public static Parameter[] Filters(params string[] names) =>
        [.. names.Select(name => new Parameter(name, ParameterLocation.Query, $"Only those with this `{name}`.", JsonSchemaType.String))];
}

/// <summary>What endpoints say of themselves.</summary>
internal static class EndpointMetadata
{
    public static RouteHandlerBuilder WithParameters(this RouteHandlerBuilder route, params Parameter[][] parameters) =>
        route.WithMetadata(parameters.SelectMany(group => group).Cast<object>().ToArray());

    /// <summary>The problems that an endpoint may answer with, besides those that each may.</summary>
    public static RouteHandlerBuilder WithProblems(this RouteHandlerBuilder route, params ProblemCode[] codes)
    {
        IEnumerable<ProblemCode> all = codes.Append(ProblemCode.Unauthenticated).Append(ProblemCode.InternalError);
        foreach (IGrouping<int, ProblemCode> status in all.GroupBy(Problems.StatusOf))
        {
            route.Produces<ProblemDocument>(status.Key, "application/problem+json");
        }

        return route;
    }

    /// <summary>An endpoint that shows a resource with its ETag.</summary>
    public static RouteHandlerBuilder ProducesTagged<T>(this RouteHandlerBuilder route) => route
        .Produces<T>().Produces(StatusCodes.Status304NotModified).WithParameters(Parameters.IfNoneMatch);

    /// <summary>An endpoint that honours If-Match.</summary>
    public static RouteHandlerBuilder TakesIfMatch(this RouteHandlerBuilder route) => route
        .WithParameters(Parameters.IfMatch).WithProblems(ProblemCode.PreconditionFailed);

    /// <summary>An endpoint that changes something and shows the resource after.</summary>
    public static RouteHandlerBuilder ProducesChange<T>(this RouteHandlerBuilder route, int done = StatusCodes.Status200OK)
    {
        route.Produces<Operations.OperationResource>(StatusCodes.Status202Accepted).Produces<T>(done);
        return (done == StatusCodes.Status200OK ? route.WithMetadata(new PlanInstead()) : route.Produces<Operations.PlanResource>())
            .WithParameters(Parameters.Change).WithProblems(ProblemCode.ValidationFailed, ProblemCode.Busy, ProblemCode.HostFault, ProblemCode.QemuError);
    }

    /// <summary>An endpoint that removes something.</summary>
    public static RouteHandlerBuilder ProducesRemoval(this RouteHandlerBuilder route) => route
        .Produces<Operations.OperationResource>(StatusCodes.Status202Accepted).Produces(StatusCodes.Status204NoContent)
        .Produces<Operations.PlanResource>().WithParameters(Parameters.Change).WithProblems(ProblemCode.ValidationFailed, ProblemCode.Busy, ProblemCode.HostFault, ProblemCode.QemuError);
}

/// <summary>Generates and writes the document.</summary>
internal static class OpenApi
{
    private const string Document = "v1";

    public static void Configure(SwaggerGenOptions options)
    {
        options.SwaggerDoc(Document, new OpenApiInfo
        {
            Title = "AssignHub",
            Version = typeof(OpenApi).Assembly.GetName().Version!.ToString(3),
            Description = "Hands PCI devices to virtual machines. The IOMMU group is the unit of ownership; every refusal names what is in the way and what would clear it.",
            License = new OpenApiLicense { Name = "Apache-2.0", Identifier = "Apache-2.0" },
        });
        options.AddServer(new OpenApiServer { Url = "/" });
        options.AddSecurityDefinition("bearer", new OpenApiSecurityScheme
        {
            Type = SecuritySchemeType.Http,
            Scheme = "bearer",
            Description = "A token, such as the one in admin.token in the data directory.",
        });
        options.AddSecurityRequirement(document => new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference("bearer", document)] = [] });
        options.MapType<PciAddress>(() => new OpenApiSchema
        {
            Type = JsonSchemaType.String,
            Pattern = "^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\\.[0-7]$",
            Description = "A PCI address, domain:bus:slot.function in lower-case hex.",
            Examples = ["0000:03:01.0"],
        });
        options.OperationFilter<OpenApiOperations>();
        options.SchemaFilter<OpenApiSchemas>();
        options.SupportNonNullableReferenceTypes();
        options.CustomSchemaIds(SchemaName);
        foreach (string file in Directory.EnumerateFiles(AppContext.BaseDirectory, "*.xml").Order(StringComparer.Ordinal))
        {
            options.IncludeXmlComments(file);
        }
    }

    /// <summary>The document as YAML.</summary>
    public static async Task<string> WriteAsync(IServiceProvider services)
    {
        OpenApiDocument document = await services.GetRequiredService<IAsyncSwaggerProvider>().GetSwaggerAsync(Document).ConfigureAwait(false);
        using var writer = new StringWriter(CultureInfo.InvariantCulture) { NewLine = "\n" };
        document.SerializeAsV31(new OpenApiYamlWriter(writer));
        return writer.ToString().TrimEnd('\n') + "\n";
    }

    private static string SchemaName(Type type)
    {
        string name = type.IsGenericType
            ? SchemaName(type.GetGenericArguments()[0]) + type.Name[..type.Name.IndexOf('`', StringComparison.Ordinal)]
            : type.Name;
        return name.EndsWith("Resource", StringComparison.Ordinal) ? name[..^"Resource".Length] : name == nameof(ProblemDocument) ? "Problem"
            : name == nameof(Engine.Operations.Problem) ? "OperationError" : name.Replace("Resource", "", StringComparison.Ordinal);
    }
}
