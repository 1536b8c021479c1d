// All that is SQLite's own: opening, durability, migrations, and how a broken constraint shows.

using System.Globalization;
using System.Reflection;
using Dapper;
using Microsoft.Data.Sqlite;

namespace AssignHub.Db;

/// <summary>The SQLite database file.</summary>
internal static class Sqlite
{
    /// <summary>SQLITE_CONSTRAINT, the primary result code (sqlite.org/rescode.html#constraint).</summary>
    private const int Constraint = 19;

    /// <summary>Opens a connection with foreign keys, write-ahead log and full durability: an answered claim survives a power cut.</summary>
    /// <param name="path">The file.</param>
    /// <param name="timeoutSeconds">How long a statement waits for another's write.</param>
    public static SqliteConnection Open(string path, int timeoutSeconds = 10)
    {
        var connection = new SqliteConnection(new SqliteConnectionStringBuilder
        {
            DataSource = path,
            ForeignKeys = true,
            DefaultTimeout = timeoutSeconds,
        }.ToString());
        connection.Open();
        connection.Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
        return connection;
    }

    /// <summary>Brings the schema up to date: numbered scripts, each in one transaction, counted in <c>user_version</c>.</summary>
    /// <exception cref="InvalidDataException">The database is newer than this program.</exception>
    public static void Migrate(SqliteConnection connection)
    {
        string[] scripts = Scripts();
        int version = connection.ExecuteScalar<int>("PRAGMA user_version");
        if (version > scripts.Length)
        {
            throw new InvalidDataException($"The database has schema {version}; this program knows up to {scripts.Length}. Install the newer version again.");
        }

        for (; version < scripts.Length; version++)
        {
            using SqliteTransaction transaction = connection.BeginTransaction();
            connection.Execute(scripts[version], transaction: transaction);
            connection.Execute(string.Create(CultureInfo.InvariantCulture, $"PRAGMA user_version = {version + 1}"), transaction: transaction);
            transaction.Commit();
        }
    }

    /// <summary>Whether an error is a constraint of the schema.</summary>
    public static bool IsConstraint(SqliteException error) => error.SqliteErrorCode == Constraint;

    private static string[] Scripts()
    {
        Assembly assembly = typeof(Sqlite).Assembly;
        return
        [
            .. assembly.GetManifestResourceNames().Where(name => name.EndsWith(".sql", StringComparison.Ordinal)).Order(StringComparer.Ordinal)
                .Select(name =>
                {
                    using var reader = new StreamReader(assembly.GetManifestResourceStream(name)!);
                    return reader.ReadToEnd();
                }),
        ];
    }
}
