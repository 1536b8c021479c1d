// The kernel's and libc's ABI against the system's own headers: every structure, field and constant of Vfio/Abi and Libc becomes a
// _Static_assert in C, by reflection, so that none can be forgotten. The compiler is the judge.

using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using AssignHub.Engine;
using AssignHub.Engine.Vfio.Abi;
using Xunit.Abstractions;

namespace AssignHub.Tests.Unit.Vfio;

public sealed class AbiTests(ITestOutputHelper output)
{
    // What older headers do not have, and the kernel that brought it: one check by its name, or all of a structure by the structure's. Left out
    // by the preprocessor where the headers are older.
    private static readonly Dictionary<string, (int Major, int Minor)> Newer = new(StringComparer.Ordinal)
    {
        ["sizeof vfio_device_info"] = (6, 6),
        ["vfio_device_info.pad"] = (6, 6),
        ["vfio_iommu_type1_info.pad"] = (6, 6),
        ["iommu_ioas_alloc"] = (6, 2),
        ["iommu_iova_range"] = (6, 2),
        ["iommu_ioas_iova_ranges"] = (6, 2),
        ["iommu_ioas_map"] = (6, 2),
        ["iommu_ioas_unmap"] = (6, 2),
        ["IOMMU_IOAS_ALLOC"] = (6, 2),
        ["IOMMU_IOAS_IOVA_RANGES"] = (6, 2),
        ["IOMMU_IOAS_MAP"] = (6, 2),
        ["IOMMU_IOAS_UNMAP"] = (6, 2),
        ["IOMMU_IOAS_MAP_FIXED_IOVA"] = (6, 2),
        ["IOMMU_IOAS_MAP_WRITEABLE"] = (6, 2),
        ["IOMMU_IOAS_MAP_READABLE"] = (6, 2),
        ["vfio_device_bind_iommufd"] = (6, 6),
        ["vfio_device_attach_iommufd_pt"] = (6, 6),
        ["VFIO_DEVICE_BIND_IOMMUFD"] = (6, 6),
        ["VFIO_DEVICE_ATTACH_IOMMUFD_PT"] = (6, 6),
        ["sizeof vfio_device_bind_iommufd"] = (6, 17),
        ["vfio_device_bind_iommufd.token_uuid_ptr"] = (6, 17),
        ["VFIO_DEVICE_BIND_FLAG_TOKEN"] = (6, 17),
    };

    private static readonly string[] Headers =
    [
        "stddef.h", "errno.h", "fcntl.h", "ifaddrs.h", "poll.h", "sched.h", "signal.h", "net/if.h", "sys/eventfd.h", "sys/mman.h", "sys/resource.h", "sys/socket.h",
        "sys/stat.h", "sys/syscall.h", "sys/uio.h", "sys/vfs.h", "linux/ethtool.h", "linux/magic.h", "linux/netlink.h", "linux/sockios.h", "linux/version.h", "linux/vfio.h",
    ];

    // Structures of libc whose name C# cannot have, or that are written down in part.
    private static readonly Dictionary<Type, (string Name, bool Whole)> Renamed = new()
    {
        [typeof(Libc.statx_t)] = ("statx", true),
        [typeof(Libc.statfs_t)] = ("statfs", false),
        [typeof(Libc.ifaddrs_t)] = ("ifaddrs", true),
        [typeof(Libc.ifreq_t)] = ("ifreq", true),
        [typeof(Libc.RLimit)] = ("rlimit", true),
        [typeof(Libc.MsgHdr)] = ("msghdr", true),
        [typeof(Libc.IoVec)] = ("iovec", true),
        [typeof(Libc.CMsgFile)] = ("cmsghdr", false),
        [typeof(vfio_device_attach_iommufd_pt)] = ("vfio_device_attach_iommufd_pt", false),
    };

    // Fields of fields, and the one that stands in a control message's data.
    private static readonly Dictionary<string, string> RenamedFields = new(StringComparer.Ordinal)
    {
        ["stx_btime_sec"] = "stx_btime.tv_sec",
        ["stx_btime_nsec"] = "stx_btime.tv_nsec",
        ["stx_ctime_sec"] = "stx_ctime.tv_sec",
        ["stx_ctime_nsec"] = "stx_ctime.tv_nsec",
        ["fd in cmsghdr"] = "__cmsg_data",
    };

    [CompilerFact]
    public void Abi_AgainstTheSystemsHeaders_IsTheSame()
    {
        List<(string Name, string Check)> checks = [.. Checks()];
        Assert.True(checks.Count > 150, $"only {checks.Count} checks: reflection has lost the ABI");

        (int exit, string errors) = Compile(Source(checks));

        Assert.True(exit == 0, errors);
        output.WriteLine($"{checks.Count} checks, headers of Linux {HeaderVersion()}");
        foreach ((string name, (int major, int minor)) in Newer.Where(one => HeaderVersion() < new Version(one.Value.Major, one.Value.Minor)))
        {
            output.WriteLine($"left out: {name}, which the headers have from Linux {major}.{minor} on");
        }
    }

    [CompilerFact]
    public void Abi_WithOneWrongNumber_IsRefused()
    {
        List<(string Name, string Check)> checks = [.. Checks(), ("wrong", "sizeof(struct vfio_irq_set) == 24")];

        (int exit, string errors) = Compile(Source(checks));

        Assert.NotEqual(0, exit);
        Assert.Contains("wrong", errors, StringComparison.Ordinal);
    }

    [Fact]
    public void Newer_EachName_IsInTheAbi() =>
        Assert.Empty(Newer.Keys.Except(Checks().SelectMany(check => new[] { check.Name, StructureOf(check.Name) })));

    // "vfio_device_info" of "sizeof vfio_device_info" and of "vfio_device_info.pad".
    private static string StructureOf(string name) => name.StartsWith("sizeof ", StringComparison.Ordinal) ? name["sizeof ".Length..] : name.Split('.')[0];

    private static IEnumerable<(string Name, string Check)> Checks()
    {
        const BindingFlags All = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static;
        IEnumerable<Type> structures = typeof(Uapi).Assembly.GetTypes().Where(type => type.Namespace == typeof(Uapi).Namespace && type.IsValueType)
            .Concat(typeof(Libc).GetNestedTypes(All).Where(type => type.IsValueType));
        foreach (Type structure in structures)
        {
            (string name, bool whole) = Renamed.TryGetValue(structure, out (string Name, bool Whole) other) ? other : (structure.Name, true);
            if (whole)
            {
                yield return ($"sizeof {name}", $"sizeof(struct {name}) == {Marshal.SizeOf(structure)}");
            }

            foreach (FieldInfo field in structure.GetFields(All).Where(field => !field.IsLiteral))
            {
                string member = RenamedFields.GetValueOrDefault(field.Name) ?? RenamedFields.GetValueOrDefault($"{field.Name} in {name}") ?? field.Name;
                int bytes = field.FieldType.IsPointer ? IntPtr.Size : Marshal.SizeOf(field.FieldType);
                string offset = $"offsetof(struct {name}, {member}) == {Marshal.OffsetOf(structure, field.Name)}";
                string size = member == "__cmsg_data" ? "1" : $"sizeof(((struct {name} *)0)->{member}) == {bytes}";
                yield return ($"{name}.{member}", $"{offset} && {size}");
            }
        }

        IEnumerable<FieldInfo> constants = new[] { typeof(Uapi), typeof(Libc) }.SelectMany(type => type.GetFields(All))
            .Where(field => field.IsLiteral && field.FieldType != typeof(string));
        foreach (FieldInfo constant in constants)
        {
            yield return (constant.Name, string.Create(CultureInfo.InvariantCulture, $"({constant.Name}) == {constant.GetRawConstantValue()}"));
        }

        foreach (Errno errno in Enum.GetValues<Errno>().Where(errno => errno != Errno.None))
        {
            yield return (errno.ToString(), $"{errno} == {(int)errno}");
        }
    }

    private static string Source(IEnumerable<(string Name, string Check)> checks)
    {
        var source = new StringBuilder();
        source.Append("#define _GNU_SOURCE\n");
        foreach (string header in Headers)
        {
            source.Append(CultureInfo.InvariantCulture, $"#include <{header}>\n");
        }

        source.Append("#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)\n#include <linux/iommufd.h>\n#endif\n");

        foreach ((string name, string check) in checks)
        {
            bool isNewer = Newer.TryGetValue(name, out (int Major, int Minor) since) || Newer.TryGetValue(StructureOf(name), out since);
            source.Append(isNewer ? string.Create(CultureInfo.InvariantCulture, $"#if LINUX_VERSION_CODE >= KERNEL_VERSION({since.Major}, {since.Minor}, 0)\n") : "");
            source.Append(CultureInfo.InvariantCulture, $"_Static_assert({check}, \"{name}\");\n");
            source.Append(isNewer ? "#endif\n" : "");
        }

        return source.ToString();
    }

    private static (int Exit, string Errors) Compile(string source, params string[] arguments)
    {
        using Process compiler = Process.Start(new ProcessStartInfo(CompilerFactAttribute.Compiler!, arguments.Length > 0 ? arguments : ["-std=gnu11", "-Werror", "-fsyntax-only", "-x", "c", "-"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        Task<string> errors = compiler.StandardError.ReadToEndAsync();
        Task<string> text = compiler.StandardOutput.ReadToEndAsync();
        compiler.StandardInput.Write(source);
        compiler.StandardInput.Close();
        compiler.WaitForExit();
        return (compiler.ExitCode, errors.Result + text.Result);
    }

    private static Version HeaderVersion()
    {
        (_, string text) = Compile("#include <linux/version.h>\nLINUX_VERSION_CODE\n", "-E", "-P", "-x", "c", "-");
        int code = int.Parse(text.Trim(), CultureInfo.InvariantCulture);
        return new Version(code >> 16, (code >> 8) & 0xff);
    }
}
