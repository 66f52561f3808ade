"""What this machine has: processor, memory, disk, devices, number formats."""
