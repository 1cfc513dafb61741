# C types for packet.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes, pieces

cdef class Packet:
    cdef public long long frame, time_ns, link_type, protocol, version, ip_at, address_at, l4_at
    cdef public long long ttl, ip_id, tos, outer_ttl, tunnels, sport, dport, seq
    cdef public long long ack, flags, window, options_length, payload_at, captured, length, fragment_at, inner_at, inner_end, inner_missing
    cdef public long long fragment_end, fragment_offset, fragment_id, fragment_protocol, depth, trailer_at, direction, more_at, more_end, more_within
    cdef public bint dont_fragment, more_fragments, plain_udp, checksum_ok, ppp
    cdef public bytes src, dst, payload, options

cdef long long carries(Packet p, long long at, long long end, long long missing) except -1
@cython.locals(start="long long", end="long long", length="long long", addresses="long long", at="long long")
cpdef bint checksum_matches(Packet p, const unsigned char[::1] data) except -1
