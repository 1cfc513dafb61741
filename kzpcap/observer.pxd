# C types for observer.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes
from kzpcap.capture.packet cimport Packet
from kzpcap.capture.flow cimport Flow
from kzpcap.flows cimport acknowledges_unsent, direction_packets
from kzpcap.marks cimport acknowledges_missing, client_stamps, closed_by_server, first_marked, mark, probes, resets, server_marks, syn_ack
from kzpcap.tls.seen cimport Handshake

cdef class Observer:
    cdef readonly object targets
    cdef readonly object ech_public_names, at
    cdef readonly object certificates
    cdef readonly long long count

    @cython.locals(first=Packet, facts=dict, sent=list, answered=list, client="long long")
    cpdef object observe(self, Flow flow, Handshake handshake)
    cdef object _add(self, dict facts, Handshake handshake, Flow flow, list sent, list answered)
    cdef tuple _digests(self, object chain)
    cdef object _target(self, tuple names, object time_ns)

cdef object _other_chain(Handshake handshake)
cdef tuple _other_names(Handshake handshake, bytes raw)
cdef object _staple(Handshake handshake, list chain)
cdef bint _offers_tls13(tuple versions) except -1
@cython.locals(packet=Packet)
cdef bint _is_long(long long first, long long last, list sent) except -1
@cython.locals(packet=Packet, first=Packet)
cdef bint _sent_again(list sent, long long answer) except -1
@cython.locals(packet=Packet)
cdef bint _is_split(bytes raw, list sent) except -1
@cython.locals(packet=Packet, first=Packet)
cdef long long _syn_sender(Flow flow) except -1
@cython.locals(packet=Packet)
cdef bint _expected(Flow flow, long long server_port) except -1
@cython.locals(first=Packet)
cpdef Packet lone_syn(Flow flow)
cdef tuple _session_digests(tuple values)
@cython.locals(packet=Packet, ended="long long")
cdef bint _waited(long long hello_ns, list sent, Flow flow) except -1
@cython.locals(packet=Packet, first=Packet, later=bint)
cpdef bint repeated(list sent) except -1
@cython.locals(packet=Packet, frame="long long", over="long long")
cdef object _reaction(Handshake handshake, list sent, tuple against)
@cython.locals(packet=Packet, ttl="long long")
cdef object _closed(list sent)
cdef tuple _possession(Flow flow, Handshake handshake, list chain)
@cython.locals(packet=Packet)
cdef bint _damaged(Flow flow, long long last) except -1
cdef object _accepted(Handshake handshake)
