# C types for scan.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture.container cimport Records
from kzpcap.capture cimport codes, limits, pieces
from kzpcap.capture.decode cimport Packet, decode, decode_ip, checksum_matches

cdef class Flow:
    cdef readonly bytes key, reverse
    cdef readonly list packets
    cdef readonly long long protocol, first_frame, first_time, last_frame, last_time
    cdef readonly long long a_packets, b_packets, a_bytes, b_bytes, a_kept, b_kept, a_data_from, b_data_from, a_kept_packets, b_kept_packets
    cdef readonly long long given_up, duplicates, cost, isn, first_ack
    cdef readonly bint a_fin, b_fin, a_application, b_application, a_protected, b_protected, reset, has_data, tls, old, two_points
    cdef readonly Flow older

cdef class Fragments:
    cdef public long long frame, time_ns, ttl, total, filled
    cdef public bytearray body, have
    cdef public bytes header
    cdef public set pieces

cdef class Scanner:
    cdef readonly Records records
    cdef readonly object notes
    cdef const unsigned char[::1] data
    cdef Packet packet
    cdef Flow latest
    cdef dict sides, fragments, whole
    cdef readonly list finished
    cdef public list icmp, dns, probes, ntp
    cdef readonly long long live, buffered, until_sweep, finished_cost
    cdef readonly bint done
    cdef readonly long long packets, decoded, wire_bytes, captured_bytes, cut_packets
    cdef readonly long long first_time, last_time, previous_time, backward_jumps, largest_jump_back
    cdef readonly long long tcp_packets, udp_packets, icmp_packets, syn_packets, tunnelled
    cdef readonly long long fragment_packets, reassembled, duplicates, wrong_checksums, checked_checksums
    cdef readonly long long given_up_packets, early_flows, pcapdroid, icmp_echoes, icmp_errors, link_type, link_packets
    cdef readonly dict reasons, unknown_links, link_types

    @cython.locals(records=Records, stop="long long")
    cpdef list read(self, long long count)
    @cython.locals(p=Packet, outcome="long long", link_type="long long")
    cdef void _packet(self, Records records) except *
    cdef void _count_links(self) except *
    cdef void _decoded(self, Packet p, const unsigned char[::1] data) except *
    @cython.locals(size="long long", fresh=Packet)
    cdef void _keep(self, Packet p, const unsigned char[::1] data) except *
    @cython.locals(size="long long", at="long long", l4="long long", flow=Flow, latest=Flow, key=bytes, reverse=bytes)
    cdef Flow _flow(self, Packet p, const unsigned char[::1] data)
    cdef Flow _open(self, Packet p, bytes key, bytes reverse)
    cdef void _end(self, Flow flow, bint early) except *
    cdef void _finish(self, Flow flow, bint early) except *
    @cython.locals(number="long long", ours="long long", theirs="long long")
    cdef Flow _beside(self, Flow flow, Flow older, Packet p)
    @cython.locals(flow=Flow, quiet="long long", closed=bint)
    cdef void _sweep(self, long long now, Flow current) except *
    @cython.locals(flow=Flow, newest=Flow, older=Flow, flags="long long", reused=bint, closed=bint)
    cdef void _tcp(self, Packet p, const unsigned char[::1] data) except *
    cdef bint _simultaneous(self, Flow flow) except -1
    @cython.locals(other=Packet, follows="long long", answered=bint)
    cdef bint _late(self, Flow flow, Packet p) except -1
    cdef bint _over(self, Flow flow, long long now) except -1
    @cython.locals(head="long long", limit="long long", kept="long long", data_from="long long", room="long long", both=bint, application=bint, found="long long", kept_packets="long long", cost="long long")
    cdef void _consider(self, Flow flow, Packet p, const unsigned char[::1] data) except *
    @cython.locals(size="long long", at="long long", stop="long long", apart="long long", begins=bint, other=Packet)
    cdef bint _duplicate(self, Flow flow, Packet p, const unsigned char[::1] data) except -1
    @cython.locals(head="long long", known=bint, flow=Flow, cost="long long")
    cdef void _udp(self, Packet p, const unsigned char[::1] data) except *
    @cython.locals(kind="long long", wanted=bint, echo=bint)
    cdef void _icmp(self, Packet p, const unsigned char[::1] data) except *
    cdef void _first_protected(self, Flow flow, long long direction) except *
    @cython.locals(held=Fragments, done=Fragments, begin="long long", end="long long", piece=bytes)
    cdef void _fragment(self, Packet p) except *

@cython.locals(end="long long", found="long long", kind="long long", size="long long")
cdef long long records_of(const unsigned char[::1] data, long long at, long long length) except -1
@cython.locals(head="long long")
cdef bint tls_record(const unsigned char[::1] data, long long at, long long length) except -1
