using AssignHub.Engine.Desired;
namespace AssignHub.Engine.Guests;
/// <summary>stub</summary>
public static class GuestPorts
{
    /// <summary>stub</summary>
    public static (string Bus, int? Slot)? Place(GuestSpec spec, IEnumerable<GuestDevice> placed, string container, bool shared) => null;
}
