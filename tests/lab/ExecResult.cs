namespace AssignHub.Lab;

/// <summary>How a command in the lab ended and what it wrote. A signal N shows as exit code 128 + N, as in a shell.</summary>
public sealed record ExecResult(int ExitCode, string Output, string Error);
