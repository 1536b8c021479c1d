using AssignHub.Lab;

namespace AssignHub.Tests.Lab;

/// <summary>Reading topology files; nothing boots here.</summary>
public sealed class TopologyTests
{
    public static TheoryData<string> Names => [.. Topology.Names];

    [Theory]
    [MemberData(nameof(Names))]
    public void Load_TopologyOfTheLab_HasDevicesAndPromises(string name)
    {
        var topology = Topology.Load(name);
        Assert.Equal(name, topology.Name);
        Assert.NotEmpty(topology.AllDevices);
        Assert.True(topology.Promises.Groups.Count + topology.Promises.Drivers.Count > 0);
    }

    [Fact]
    public void Load_UnknownName_NamesTheKnown()
    {
        LabException failure = Assert.Throws<LabException>(() => Topology.Load("nowhere"));
        Assert.Contains("sample", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_FileWithManyFaults_ReportsAllWithTheirLines()
    {
        (Topology? topology, IReadOnlyList<string> errors) = TopologyReader.Read(
            """
            name: bad
            colour: blue
            devices:
              - { id: a, kind: e1000x, slot: "01" }
              - { id: a, kind: e1000, slot: "01" }
              - { id: b, kind: xio3130-downstream, slot: "02" }
              - id: c
                kind: edu
                slot: "99"
                below:
                  - { id: d, kind: edu, slot: "00" }
              - { id: e, kind: nvme, slot: "03.1", size: huge }
              - { id: f, kind: pxb-pcie, slot: "04", numa: 3 }
              - { id: "g,h", kind: edu, slot: "05", content: text }
              - { kind: edu, slot: "1e" }
              - just words
            promises:
              groups: [[01:00.0]]
            """,
            "bad.yaml");
        Assert.Null(topology);
        string[] expected =
        [
            "bad.yaml:2: topology: unknown field \"colour\"",
            "bad.yaml:4: device \"a\": unknown kind \"e1000x\"",
            "bad.yaml:5: device \"a\": the id is taken",
            "bad.yaml:5: device \"a\": slot 01.0 is taken",
            "bad.yaml:6: device \"b\": xio3130-downstream cannot sit on the root bus",
            "device \"c\": slot \"99\" is not",
            "device \"c\": edu has no bus",
            "device \"e\": slot 03 has no function 0",
            "bad.yaml:12: device \"e\": size \"huge\"",
            "bad.yaml:13: device \"f\": the topology has no NUMA node 3",
            "bad.yaml:14: device \"g,h\": an id is made of",
            "bad.yaml:14: device \"g,h\": content is only for nvme",
            "bad.yaml:15: device: id is missing",
            "slot 1e is not free",
            "bad.yaml:16: topology: a device is a mapping",
            "bad.yaml:18: promises: \"01:00.0\" is not a PCI address",
        ];
        string all = string.Join('\n', errors);
        Assert.All(expected, part => Assert.Contains(part, all, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("")]
    [InlineData("- a\n- b")]
    [InlineData("name: [")]
    public void Read_NoMapping_IsAnError(string text) => Assert.NotEmpty(TopologyReader.Read(text, "x.yaml").Errors);
}
