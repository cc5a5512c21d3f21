"""The BPF side as Python sees it: layouts, objects, maps, the ring, counters."""
