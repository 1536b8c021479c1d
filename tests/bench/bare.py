"""Attach and detach by nothing but sysfs writes and QMP: bare.py GUEST_DIRECTORY ADDRESS UID CYCLES. Prints seconds, a pair a cycle."""

import json
import os
import socket
import sys
import time

directory, address, uid, cycles = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
device = f"/sys/bus/pci/devices/{address}"
group = os.path.basename(os.readlink(f"{device}/iommu_group"))


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


class Monitor:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.lines.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self.lines.readline())
            if "error" in answer:
                raise RuntimeError(answer["error"])
            if "return" in answer:
                return answer["return"]

    def wait(self, event, **data):
        while True:
            answer = json.loads(self.lines.readline())
            if answer.get("event") == event and data.items() <= answer["data"].items():
                return


def console():
    with open(f"{directory}/console.log", "rb") as file:
        return file.read().count(b"driver e1000e")


monitor = Monitor(f"{directory}/run/qmp.sock")
for _ in range(cycles):
    seen = console()
    start = time.monotonic()
    write(f"{device}/driver_override", "vfio-pci")
    write(f"{device}/driver/unbind", address)
    write("/sys/bus/pci/drivers_probe", address)
    os.chown(f"/dev/vfio/{group}", uid, 0)
    monitor.call("device_add", driver="vfio-pci", host=address, id="bare", bus="port0")
    attach = time.monotonic() - start
    while console() == seen:
        time.sleep(0.05)
    start = time.monotonic()
    monitor.call("device_del", id="bare")
    monitor.wait("DEVICE_DELETED", device="bare")
    write(f"{device}/driver/unbind", address)
    write(f"{device}/driver_override", "\n")
    write("/sys/bus/pci/drivers_probe", address)
    print(f"{attach:.4f} {time.monotonic() - start:.4f}")
