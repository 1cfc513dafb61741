# C types for scan.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture.records cimport Records
from kzpcap.capture cimport codes, limits, pieces
from kzpcap.capture.decode cimport decode, decode_ip, decode_more
from kzpcap.capture.packet cimport Packet, checksum_matches
from kzpcap.capture.flow cimport Flow
from kzpcap.capture.fragments cimport Fragments

cdef class Scanner:
    cdef readonly Records records
    cdef readonly object notes
    cdef const unsigned char[::1] data
    cdef Packet packet
    cdef Flow latest
    cdef dict sides
    cdef readonly Fragments fragments
    cdef readonly list finished
    cdef public list icmp, dns, probes, ntp
    cdef readonly long long live, buffered, until_sweep, finished_cost
    cdef readonly bint done
    cdef readonly long long packets, decoded, wire_bytes, captured_bytes, cut_packets
    cdef readonly long long first_time, last_time, previous_time, backward_jumps, largest_jump_back, jump_frame
    cdef readonly long long tcp_packets, udp_packets, icmp_packets, syn_packets, tunnelled
    cdef readonly long long duplicates, wrong_checksums, checked_checksums
    cdef readonly long long given_up_packets, early_flows, pcapdroid, icmp_echoes, icmp_errors, link_type, link_packets
    cdef readonly dict reasons, unknown_links, link_types

    @cython.locals(records=Records, stop="long long")
    cpdef list read(self, long long count)
    @cython.locals(p=Packet, outcome="long long", link_type="long long", more="long long", end="long long", within="long long")
    cdef void _packet(self, Records records) except *
    cdef void _came(self, Packet p, long long outcome, long long link_type) except *
    cdef void _count_links(self) except *
    cdef void _decoded(self, Packet p, const unsigned char[::1] data) except *
    @cython.locals(size="long long", fresh=Packet)
    cdef void _keep(self, Packet p, const unsigned char[::1] data) except *
    @cython.locals(size="long long", at="long long", l4="long long", flow=Flow, latest=Flow, key=bytes, reverse=bytes)
    cdef Flow _flow(self, Packet p, const unsigned char[::1] data)
    cdef Flow _open(self, Packet p, bytes key, bytes reverse)
    cdef void _end(self, Flow flow, bint early) except *
    cdef void _finish(self, Flow flow, bint early) except *
    @cython.locals(flow=Flow, quiet="long long")
    cdef void _sweep(self, long long now, Flow current) except *
    @cython.locals(flow=Flow, newest=Flow, older=Flow, flags="long long", reused=bint, closed=bint, again=bint)
    cdef void _tcp(self, Packet p, const unsigned char[::1] data) except *
    @cython.locals(wanted="long long")
    cdef void _consider(self, Flow flow, Packet p, const unsigned char[::1] data) except *
    cdef void _give_up(self, Flow flow) except *
    cdef void _store(self, Flow flow, Packet p, const unsigned char[::1] data) except *
    @cython.locals(head="long long", known=bint, flow=Flow, kept="long long")
    cdef void _udp(self, Packet p, const unsigned char[::1] data) except *
    @cython.locals(head="long long", size="long long", at="long long", l4="long long")
    cdef bint _answers(self, Packet p, const unsigned char[::1] data) except -1
    @cython.locals(kind="long long", wanted=bint, echo=bint)
    cdef void _icmp(self, Packet p, const unsigned char[::1] data) except *
    @cython.locals(datagram=bytes, outcome="long long", deep="long long")
    cdef void _fragment(self, Packet p) except *

cdef long long _within(Packet p, bytes datagram) except? -1

@cython.locals(flow=Flow)
cpdef long long last_frame_of(Flow flow) except? -1
