// The address of one PCI function, the name by which AssignHub knows a device.

using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace AssignHub.Engine.Pci;

/// <summary>
/// A PCI function's address, <c>domain:bus:slot.function</c> in lower-case hex: <c>0000:03:01.0</c>.
/// The domain is at least four digits; Linux numbers the domains behind an Intel VMD from 0x10000.
/// </summary>
/// <param name="Domain">The PCI segment, 0 to 0xffffffff.</param>
/// <param name="Bus">The bus, 0 to 255.</param>
/// <param name="Slot">The device number on the bus, 0 to 31.</param>
/// <param name="Function">The function of the device, 0 to 7.</param>
[JsonConverter(typeof(PciAddressConverter))]
public readonly record struct PciAddress(uint Domain, byte Bus, byte Slot, byte Function)
    : IComparable<PciAddress>, ISpanParsable<PciAddress>
{
    /// <summary>Slot and function as the kernel packs them: <c>slot &lt;&lt; 3 | function</c> (<c>PCI_DEVFN</c>).</summary>
    public byte DevFn => (byte)(Slot << 3 | Function);

    /// <summary>Makes an address from the kernel's packed slot and function.</summary>
    public static PciAddress FromDevFn(uint domain, byte bus, byte devfn) => new(domain, bus, (byte)(devfn >> 3), (byte)(devfn & 7));

    /// <summary>Reads the full form only (<c>0000:03:01.0</c>): a short one such as <c>3:1.0</c> is ambiguous and refused.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out PciAddress address)
    {
        address = default;
        int colon = text.IndexOf(':');
        if (colon is < 4 or > 8 || text.Length != colon + 8 || text[colon + 3] != ':' || text[colon + 6] != '.')
        {
            return false;
        }

        if (!TryHex(text[..colon], out uint domain) || !TryHex(text.Slice(colon + 1, 2), out uint bus)
            || !TryHex(text.Slice(colon + 4, 2), out uint slot) || !TryHex(text.Slice(colon + 7, 1), out uint function)
            || slot > 31 || function > 7 || (colon > 4 && text[0] == '0'))
        {
            return false;
        }

        address = new PciAddress(domain, (byte)bus, (byte)slot, (byte)function);
        return true;
    }

    /// <inheritdoc cref="TryParse(ReadOnlySpan{char}, out PciAddress)"/>
    public static bool TryParse([NotNullWhen(true)] string? text, out PciAddress address) => TryParse(text.AsSpan(), out address);

    /// <inheritdoc/>
    public static bool TryParse(ReadOnlySpan<char> s, IFormatProvider? provider, out PciAddress result) => TryParse(s, out result);

    /// <inheritdoc/>
    public static bool TryParse([NotNullWhen(true)] string? s, IFormatProvider? provider, out PciAddress result) => TryParse(s, out result);

    /// <summary>Reads an address that is known to be one, from the kernel or a test.</summary>
    /// <exception cref="FormatException">It is not an address.</exception>
    public static PciAddress Parse(string text) =>
        TryParse(text, out PciAddress address) ? address : throw new FormatException($"'{text}' is not a PCI address");

    /// <inheritdoc/>
    public static PciAddress Parse(ReadOnlySpan<char> s, IFormatProvider? provider) => Parse(s.ToString());

    /// <inheritdoc/>
    public static PciAddress Parse(string s, IFormatProvider? provider) => Parse(s);

    /// <inheritdoc/>
    public int CompareTo(PciAddress other) => Key.CompareTo(other.Key);

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Domain:x4}:{Bus:x2}:{Slot:x2}.{Function:x}");

    /// <summary>Whether <paramref name="left"/> comes before <paramref name="right"/> in bus order.</summary>
    public static bool operator <(PciAddress left, PciAddress right) => left.Key < right.Key;

    /// <summary>Whether <paramref name="left"/> comes after <paramref name="right"/> in bus order.</summary>
    public static bool operator >(PciAddress left, PciAddress right) => left.Key > right.Key;

    /// <summary>Whether <paramref name="left"/> is <paramref name="right"/> or comes before it in bus order.</summary>
    public static bool operator <=(PciAddress left, PciAddress right) => left.Key <= right.Key;

    /// <summary>Whether <paramref name="left"/> is <paramref name="right"/> or comes after it in bus order.</summary>
    public static bool operator >=(PciAddress left, PciAddress right) => left.Key >= right.Key;

    private ulong Key => (ulong)Domain << 16 | (uint)(Bus << 8) | DevFn;

    private static bool TryHex(ReadOnlySpan<char> text, out uint value) =>
        uint.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value) && !text.ContainsAnyInRange('A', 'F');
}

/// <summary>Writes a <see cref="PciAddress"/> as its text, as a value and as a property name.</summary>
public sealed class PciAddressConverter : JsonConverter<PciAddress>
{
    /// <inheritdoc/>
    public override PciAddress Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        reader.TokenType == JsonTokenType.String && PciAddress.TryParse(reader.GetString(), out PciAddress address)
            ? address
            : throw new JsonException("A PCI address is a string such as 0000:03:01.0 (domain:bus:slot.function, lower-case hex).");

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, PciAddress value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());

    /// <inheritdoc/>
    public override PciAddress ReadAsPropertyName(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        Read(ref reader, typeToConvert, options);

    /// <inheritdoc/>
    public override void WriteAsPropertyName(Utf8JsonWriter writer, PciAddress value, JsonSerializerOptions options) =>
        writer.WritePropertyName(value.ToString());
}
