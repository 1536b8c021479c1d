// Every statement, in the subset that SQLite and PostgreSQL share.

namespace AssignHub.Db;

internal static class Sql
{
    public const string Guests = "SELECT * FROM guests WHERE host = @Host";

    public const string GuestDevices = "SELECT * FROM guest_devices WHERE host = @Host";

    public const string Containers = "SELECT * FROM containers WHERE host = @Host";

    public const string Members = "SELECT * FROM container_members WHERE host = @Host";

    public const string Quarantines = "SELECT * FROM quarantines WHERE host = @Host";

    public const string Overrides = "SELECT * FROM overrides WHERE host = @Host";

    public const string UnfinishedOperations = "SELECT * FROM operations WHERE host = @Host AND finished_at IS NULL ORDER BY id";

    public const string LastOperation = "SELECT coalesce(max(id), 0) FROM operations WHERE host = @Host";

    public const string EventSpan = "SELECT coalesce(min(id), 0) AS oldest, coalesce(max(id), 0) AS newest FROM events WHERE host = @Host";

    public const string FindOperation = "SELECT * FROM operations WHERE host = @Host AND id = @Id";

    public const string ListOperations = "SELECT * FROM operations WHERE host = @Host AND id < @Before ORDER BY id DESC LIMIT @Limit";

    public const string ListEvents = "SELECT * FROM events WHERE host = @Host AND id > @After ORDER BY id LIMIT @Limit";

    public const string PutGuest = """
        INSERT INTO guests (host, name, spec, generation, state, pid, start_time, uid, error, created_at)
        VALUES (@Host, @Name, @Spec, @Generation, @State, @Pid, @StartTime, @Uid, @Error, @CreatedAt)
        ON CONFLICT (host, name) DO UPDATE SET spec = excluded.spec, generation = excluded.generation, state = excluded.state,
          pid = excluded.pid, start_time = excluded.start_time, uid = excluded.uid, error = excluded.error, created_at = excluded.created_at
        """;

    public const string DropGuest = "DELETE FROM guests WHERE host = @Host AND name = @Name";

    public const string AddGuestDevice = """
        INSERT INTO guest_devices (host, address, guest, container, state, bus, slot)
        VALUES (@Host, @Address, @Guest, @Container, @State, @Bus, @Slot)
        """;

    public const string DropGuestDevices = "DELETE FROM guest_devices WHERE host = @Host AND guest = @Guest";

    public const string PutContainer = """
        INSERT INTO containers (host, id, group_number, backend, guest, state, keep, iommu, reports, error, fence, created_at)
        VALUES (@Host, @Id, @GroupNumber, @Backend, @Guest, @State, @Keep, @Iommu, @Reports, @Error, @Fence, @CreatedAt)
        ON CONFLICT (host, id) DO UPDATE SET group_number = excluded.group_number, backend = excluded.backend, guest = excluded.guest,
          state = excluded.state, keep = excluded.keep, iommu = excluded.iommu, reports = excluded.reports, error = excluded.error,
          fence = excluded.fence, created_at = excluded.created_at
        """;

    public const string ParkContainer = "UPDATE containers SET group_number = NULL WHERE host = @Host AND id = @Id";

    public const string DropContainer = "DELETE FROM containers WHERE host = @Host AND id = @Id";

    public const string AddMember = """
        INSERT INTO container_members (host, address, container, vendor_id, device_id, serial, is_bridge, original_driver)
        VALUES (@Host, @Address, @Container, @VendorId, @DeviceId, @Serial, @IsBridge, @OriginalDriver)
        """;

    public const string DropMembers = "DELETE FROM container_members WHERE host = @Host AND container = @Container";

    public const string PutQuarantine = """
        INSERT INTO quarantines (host, address, reason, since) VALUES (@Host, @Address, @Reason, @Since)
        ON CONFLICT (host, address) DO UPDATE SET reason = excluded.reason, since = excluded.since
        """;

    public const string DropQuarantine = "DELETE FROM quarantines WHERE host = @Host AND address = @Address";

    public const string PutOverride = """
        INSERT INTO overrides (host, address, reason, actor, created_at, expires_at) VALUES (@Host, @Address, @Reason, @Actor, @CreatedAt, @ExpiresAt)
        ON CONFLICT (host, address) DO UPDATE SET reason = excluded.reason, actor = excluded.actor, created_at = excluded.created_at,
          expires_at = excluded.expires_at
        """;

    public const string DropOverride = "DELETE FROM overrides WHERE host = @Host AND address = @Address";

    public const string PutOperation = """
        INSERT INTO operations (host, id, kind, subject, change, actor, state, steps, error, warnings, created_at, finished_at)
        VALUES (@Host, @Id, @Kind, @Subject, @Change, @Actor, @State, @Steps, @Error, @Warnings, @CreatedAt, @FinishedAt)
        ON CONFLICT (host, id) DO UPDATE SET state = excluded.state, steps = excluded.steps, error = excluded.error,
          warnings = excluded.warnings, finished_at = excluded.finished_at
        """;

    public const string Tokens = "SELECT * FROM tokens WHERE host = @Host ORDER BY name";

    public const string FindToken = "SELECT * FROM tokens WHERE host = @Host AND id = @Id";

    public const string AddToken = """
        INSERT INTO tokens (host, id, name, role, hash, created_at, expires_at, last_used_at)
        VALUES (@Host, @Id, @Name, @Role, @Hash, @CreatedAt, @ExpiresAt, @LastUsedAt)
        """;

    public const string DropToken = "DELETE FROM tokens WHERE host = @Host AND id = @Id";

    public const string TouchToken = "UPDATE tokens SET last_used_at = @LastUsedAt WHERE host = @Host AND id = @Id";

    /// <summary>Touches pages, and leaves them as they were.</summary>
    public const string Probe = """
        INSERT INTO answers (host, token, key, fingerprint, created_at) VALUES (@Host, '', 'probe', '', '');
        DELETE FROM answers WHERE host = @Host AND token = '' AND key = 'probe';
        """;

    public const string FindAnswer = "SELECT fingerprint, operation, answer FROM answers WHERE host = @Host AND token = @Token AND key = @Key";

    public const string PutAnswer = """
        INSERT INTO answers (host, token, key, fingerprint, operation, answer, created_at)
        VALUES (@Host, @Token, @Key, @Fingerprint, @Operation, @Answer, @CreatedAt)
        ON CONFLICT (host, token, key) DO UPDATE SET answer = excluded.answer
        """;

    public const string DropAnswers = "DELETE FROM answers WHERE host = @Host AND created_at < @Before";

    public const string AddEvent = """
        INSERT INTO events (host, id, time, kind, subject, operation, actor, data)
        SELECT @Host, coalesce(max(id), 0) + 1, @Time, @Kind, @Subject, @Operation, @Actor, @Data FROM events WHERE host = @Host
        RETURNING id
        """;

    public const string DropEvents = "DELETE FROM events WHERE host = @Host AND id <= @Until";
}
