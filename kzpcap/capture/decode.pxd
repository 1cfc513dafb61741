# C types for decode.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes, links, packet, pieces, tunnels
from kzpcap.capture.packet cimport Packet

cpdef long long decode(Packet p, const unsigned char[::1] data, long long at, long long captured, long long original, long long link_type) except -1
cpdef long long decode_more(Packet p, const unsigned char[::1] data, long long at, long long end, long long within) except -1
cdef void _begin(Packet p) noexcept
cpdef long long decode_ip(Packet p, const unsigned char[::1] data, long long at, long long end) except -1
cdef long long _inner(Packet p, const unsigned char[::1] data, long long outcome) except -1
@cython.locals(version="long long")
cdef long long ip(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(header="long long", total="long long", fragment="long long", protocol="long long")
cdef long long ipv4(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(total="long long", protocol="long long", headers="long long", fragment="long long", size="long long")
cdef long long ipv6(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
cdef void note_tunnel(Packet p) except *
cdef long long transport(Packet p, const unsigned char[::1] data, long long protocol, long long at, long long end, long long missing) except -1
@cython.locals(header="long long")
cdef long long tcp(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(length="long long", limit="long long", sport="long long", dport="long long", ip_at="long long", depth="long long", outer_ttl="long long", nested="long long", outcome="long long")
cdef long long udp(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
