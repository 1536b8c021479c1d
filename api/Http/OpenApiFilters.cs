// What the generated document lacks: parameters that handlers read by themselves, the problems that every operation of a kind may answer with,
// and what the types say of null.

using System.Globalization;
using System.Reflection;
using System.Text.Json;
using AssignHub.Engine.Rules;
using Microsoft.OpenApi;
using Swashbuckle.AspNetCore.SwaggerGen;

namespace AssignHub.Api.Http;

/// <summary>Completes the operations.</summary>
internal sealed class OpenApiOperations : IOperationFilter
{
    /// <inheritdoc/>
    public void Apply(OpenApiOperation operation, OperationFilterContext context)
    {
        IList<object> said = context.ApiDescription.ActionDescriptor.EndpointMetadata;
        bool isPost = string.Equals(context.ApiDescription.HttpMethod, "POST", StringComparison.OrdinalIgnoreCase);
        operation.Parameters ??= [];
        foreach (Parameter parameter in said.OfType<Parameter>())
        {
            operation.Parameters.Add(new OpenApiParameter
            {
                Name = parameter.Name,
                In = parameter.In,
                Description = parameter.Description,
                Schema = new OpenApiSchema { Type = parameter.Type },
            });
        }

        if (said.OfType<NeededRole>().Any(needed => needed.Role > Role.Viewer))
        {
            AddProblem(operation, ProblemCode.Forbidden);
        }

        if (isPost)
        {
            AddIdempotency(operation);
        }

        if (operation.RequestBody is not null)
        {
            AddProblem(operation, ProblemCode.UnsupportedMediaType);
        }

        // Of a POST with a key the body is read even where it says nothing.
        if (operation.RequestBody is not null || isPost)
        {
            AddProblem(operation, ProblemCode.BodyTooLarge);
        }

        foreach (TextAlternative text in said.OfType<TextAlternative>())
        {
            operation.Responses!["200"].Content![text.MediaType] = new OpenApiMediaType
            {
                Schema = new OpenApiSchema { Type = JsonSchemaType.String, Description = text.Description },
            };
        }

        if (said.OfType<PlanInstead>().Any() && operation.Responses!["200"].Content!["application/json"] is OpenApiMediaType { Schema: { } done } media)
        {
            IOpenApiSchema plan = context.SchemaGenerator.GenerateSchema(typeof(Operations.PlanResource), context.SchemaRepository);
            media.Schema = new OpenApiSchema { Description = "The resource, or the plan of a dry run.", OneOf = [done, plan] };
        }
    }

    private static void AddIdempotency(OpenApiOperation operation)
    {
        operation.Parameters!.Add(new OpenApiParameter
        {
            Name = "Idempotency-Key",
            In = ParameterLocation.Header,
            Description = "Chosen by the client: for 24 hours the same request with this key gets the same answer, and does nothing a second time. A refusal is not kept.",
            Schema = new OpenApiSchema { Type = JsonSchemaType.String, MinLength = 1, MaxLength = 255 },
        });
        AddProblem(operation, ProblemCode.ValidationFailed);
        AddProblem(operation, ProblemCode.Busy);
        AddProblem(operation, ProblemCode.IdempotencyMismatch);
    }

    private static void AddProblem(OpenApiOperation operation, ProblemCode code)
    {
        int status = Problems.StatusOf(code);
        var known = (OpenApiMediaType)operation.Responses!["401"].Content!["application/problem+json"];
        operation.Responses.TryAdd(status.ToString(CultureInfo.InvariantCulture), new OpenApiResponse
        {
            Description = Microsoft.AspNetCore.WebUtilities.ReasonPhrases.GetReasonPhrase(status),
            Content = new Dictionary<string, IOpenApiMediaType> { ["application/problem+json"] = new OpenApiMediaType { Schema = known.Schema } },
        });
    }
}

/// <summary>Completes the schemas: a reference may be null where its property may, and a page has both its fields.</summary>
internal sealed class OpenApiSchemas : ISchemaFilter
{
    /// <inheritdoc/>
    public void Apply(IOpenApiSchema schema, SchemaFilterContext context)
    {
        if (schema is not OpenApiSchema { Properties: { } properties } whole)
        {
            return;
        }

        var nullability = new NullabilityInfoContext();
        foreach (PropertyInfo property in context.Type.GetProperties())
        {
            string name = JsonNamingPolicy.CamelCase.ConvertName(property.Name);
            if (properties.TryGetValue(name, out IOpenApiSchema? own) && own is OpenApiSchemaReference reference
                && (Nullable.GetUnderlyingType(property.PropertyType) is not null || nullability.Create(property).ReadState == NullabilityState.Nullable))
            {
                properties[name] = new OpenApiSchema { Description = reference.Description, OneOf = [new OpenApiSchema { Type = JsonSchemaType.Null }, reference] };
            }
        }

        if (context.Type.IsGenericType && context.Type.GetGenericTypeDefinition() == typeof(Page<>))
        {
            whole.Required = new HashSet<string> { "items", "next" };
        }
    }
}
