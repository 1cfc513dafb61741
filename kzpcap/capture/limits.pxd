# The C form of limits.py, for the modules that cimport it.
cdef enum:
    PLAIN = 16384
    TLS = 131072
    DATA = 32768
    BEHIND = 8192
    PACKETS = 4096
    DATAGRAMS = 1024
    SHORT = 16
    FLOWS = 73728
    BUFFERED = 33554432
    PACKET_COST = 400
    RECENT = 6
    DUPLICATE_NS = 1000000
    QUEUED_NS = 50000000
