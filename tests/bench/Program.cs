// tests/run bench: the figures that AssignHub has to reach, each beside its bar. It measures and judges nothing: the status is 0.

using AssignHub.Bench;

string service = args is [{ } path] ? Path.GetFullPath(path) : throw new ArgumentException("the service's program has to be named");
Console.WriteLine($"{"figure",-62} {"measured",14} {"bar",14}");
using (var large = new LargeHosts())
{
    large.MeasureScan();
    await large.MeasureServiceAsync(service).ConfigureAwait(false);
}

await AttachInLab.MeasureAsync(service).ConfigureAwait(false);
