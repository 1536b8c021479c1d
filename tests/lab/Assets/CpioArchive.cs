using System.Text;

namespace AssignHub.Lab;

/// <summary>Writes a cpio archive in the "newc" form, which the kernel unpacks as its first file system.</summary>
internal sealed class CpioArchive(Stream output)
{
    private const uint Folder = 0x4000;
    private const uint RegularFile = 0x8000;
    private const uint CharacterDevice = 0x2000;
    private readonly HashSet<string> _folders = new(StringComparer.Ordinal);
    private uint _inode;

    public void AddFile(string path, ReadOnlySpan<byte> content, int mode = 0x1ed)
    {
        AddFolders(path);
        Write(path, RegularFile | (uint)mode, content);
    }

    public void AddCharacterDevice(string path, uint major, uint minor)
    {
        AddFolders(path);
        Write(path, CharacterDevice | 0x180, [], major, minor);
    }

    public void Finish()
    {
        Write("TRAILER!!!", 0, []);
        output.Flush();
    }

    private void AddFolders(string path)
    {
        for (int slash = path.IndexOf('/', StringComparison.Ordinal); slash > 0; slash = path.IndexOf('/', slash + 1))
        {
            if (_folders.Add(path[..slash]))
            {
                Write(path[..slash], Folder | 0x1ed, []);
            }
        }
    }

    // 110 bytes of header: the magic and thirteen numbers of eight hex digits; name and content end on 4 bytes.
    private void Write(string name, uint mode, ReadOnlySpan<byte> content, uint major = 0, uint minor = 0)
    {
        byte[] nameBytes = Encoding.UTF8.GetBytes(name + "\0");
        uint links = (mode & Folder) != 0 ? 2u : 1u;
        ReadOnlySpan<uint> fields =
            [++_inode, mode, 0, 0, links, 0, (uint)content.Length, 0, 0, major, minor, (uint)nameBytes.Length, 0];
        var header = new StringBuilder("070701");
        foreach (uint field in fields)
        {
            header.Append(field.ToString("x8", null));
        }

        output.Write(Encoding.ASCII.GetBytes(header.ToString()));
        output.Write(nameBytes);
        Pad(110 + nameBytes.Length);
        output.Write(content);
        Pad(content.Length);
    }

    private void Pad(int written)
    {
        ReadOnlySpan<byte> zeros = [0, 0, 0];
        output.Write(zeros[..((4 - (written & 3)) & 3)]);
    }
}
