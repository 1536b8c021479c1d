namespace AssignHub.Lab;

/// <summary>Something that keeps the lab from working, told in words for the person who wanted it.</summary>
public sealed class LabException : Exception
{
    public LabException()
    {
    }

    public LabException(string message)
        : base(message)
    {
    }

    public LabException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
