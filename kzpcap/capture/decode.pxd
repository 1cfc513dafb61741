# C types for decode.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes, pieces

cdef class Packet:
    cdef public long long frame, time_ns, link_type, protocol, version, ip_at, address_at, l4_at
    cdef public long long ttl, ip_id, tos, outer_ttl, tunnels, sport, dport, seq
    cdef public long long ack, flags, window, options_length, payload_at, captured, length, fragment_at
    cdef public long long fragment_end, fragment_offset, fragment_id, fragment_protocol, depth, trailer_at, direction
    cdef public bint dont_fragment, more_fragments, plain_udp, checksum_ok, ppp
    cdef public bytes src, dst, payload, options

cdef long long be16(const unsigned char[::1] data, long long at) except -1
@cython.locals(top="long long")
cdef long long be32(const unsigned char[::1] data, long long at) except -1
cdef long long le16(const unsigned char[::1] data, long long at) except -1
@cython.locals(top="long long")
cdef long long le32(const unsigned char[::1] data, long long at) except -1
cpdef long long decode(Packet p, const unsigned char[::1] data, long long at, long long captured, long long original, long long link_type) except -1
cpdef long long decode_ip(Packet p, const unsigned char[::1] data, long long at, long long end) except -1
@cython.locals(family="long long", skip="long long")
cdef long long link(Packet p, const unsigned char[::1] data, long long link_type, long long at, long long end, long long missing) except -1
@cython.locals(kind="long long")
cdef long long ethernet(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
cdef long long cooked(Packet p, const unsigned char[::1] data, long long kind, long long hardware, long long at, long long end, long long missing) except -1
cdef long long llc(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(skip="long long")
cdef long long ethertype(Packet p, const unsigned char[::1] data, long long kind, long long at, long long end, long long missing) except -1
@cython.locals(bottom="long long", nibble="long long")
cdef long long mpls(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
cdef long long pppoe(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(kind="long long")
cdef long long ppp(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
cdef long long frame_relay(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(skip="long long", field="long long", present="long long", words="long long", padded="long long")
cdef long long radiotap(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(control="long long", flags="long long", header="long long", aggregate="long long")
cdef long long wifi(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing, bint padded) except -1
@cython.locals(length="long long")
cdef long long nflog(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
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
@cython.locals(length="long long", limit="long long", sport="long long", dport="long long", ip_at="long long", depth="long long", outer_ttl="long long", tunnels="long long", outcome="long long")
cdef long long udp(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
cdef bint tunnel_port(long long sport, long long dport) except -1
@cython.locals(skip="long long")
cdef long long udp_tunnel(Packet p, const unsigned char[::1] data, long long sport, long long dport, long long at, long long end, long long missing) except -1
@cython.locals(kind="long long")
cdef long long tzsp(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(flags="long long", following="long long")
cdef long long gtp(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(words="long long", native="long long")
cdef long long capwap(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(flags="long long")
cdef long long l2tp(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(flags="long long", kind="long long")
cdef long long gre(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(start="long long", end="long long", length="long long", addresses="long long", at="long long")
cpdef bint checksum_matches(Packet p, const unsigned char[::1] data) except -1
