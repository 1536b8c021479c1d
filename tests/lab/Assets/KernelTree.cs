namespace AssignHub.Lab;

/// <summary>A kernel's unpacked modules: which file a module is in and what has to be loaded before it.</summary>
internal sealed class KernelTree
{
    private readonly Dictionary<string, (string File, string[] Needs)> _modules = new(StringComparer.Ordinal);
    private readonly HashSet<string> _builtIn;

    /// <param name="modules">The folder <c>lib/modules/RELEASE</c>, after depmod.</param>
    public KernelTree(string modules)
    {
        Modules = modules;
        _builtIn = [.. File.ReadLines(Path.Combine(modules, "modules.builtin")).Select(NameOf)];

        // kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
        foreach (string line in File.ReadLines(Path.Combine(modules, "modules.dep")))
        {
            int colon = line.IndexOf(':', StringComparison.Ordinal);
            string[] needs = line[(colon + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            _modules[NameOf(line[..colon])] = (line[..colon], needs);
        }
    }

    public string Modules { get; }

    /// <summary>Files to load in order, each once, so that all of <paramref name="names"/> work. Built-in ones need none.</summary>
    public List<string> LoadOrder(IEnumerable<string> names)
    {
        List<string> order = [];
        foreach (string name in names)
        {
            if (_modules.TryGetValue(name, out var module))
            {
                // modules.dep lists the nearest need first; the kernel wants the farthest first.
                foreach (string file in module.Needs.Reverse().Append(module.File))
                {
                    if (!order.Contains(file))
                    {
                        order.Add(file);
                    }
                }
            }
            else if (!_builtIn.Contains(name))
            {
                throw new LabException($"kernel in {Modules} has no module {name}");
            }
        }

        return order;
    }

    private static string NameOf(string path)
    {
        string file = Path.GetFileName(path);
        return file[..file.IndexOf(".ko", StringComparison.Ordinal)].Replace('-', '_');
    }
}
