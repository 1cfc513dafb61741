# C types for observer.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes
from kzpcap.capture.decode cimport Packet
from kzpcap.capture.scan cimport Flow
from kzpcap.flows cimport acknowledges_unsent, direction_packets, distance

cdef tuple _other_names(object handshake, bytes raw)
cdef bint _offers_tls13(tuple versions) except -1
@cython.locals(packet=Packet, first=Packet)
cdef long long _syn_sender(Flow flow) except -1
@cython.locals(packet=Packet)
cdef bint _expected(Flow flow, long long server_port) except -1
@cython.locals(first=Packet)
cpdef Packet lone_syn(Flow flow)
cdef object _mark(Packet packet, str what)
@cython.locals(packet=Packet)
cdef object _client_stamps(list packets)
@cython.locals(packet=Packet)
cdef object _first_marked(list packets, str what, long long wanted, long long unwanted)
@cython.locals(packet=Packet, isn="long long")
cdef object _syn_ack(list sent, list answered)
@cython.locals(packet=Packet, found=list)
cdef tuple _resets(list packets, Flow flow)
cdef tuple _session_digests(tuple values)
@cython.locals(packet=Packet, named=dict, marks=list, data="long long")
cdef tuple _server_marks(object handshake, list packets)
@cython.locals(packet=Packet, first=Packet, frame="long long", copies=list)
cdef tuple _probes(object handshake, list packets)
@cython.locals(packet=Packet, ended="long long")
cdef bint _waited(long long hello_ns, list sent, Flow flow) except -1
@cython.locals(packet=Packet, seq="long long", copies="long long")
cpdef long long handshake_copies(list sent) except -1
@cython.locals(packet=Packet, frame="long long")
cdef object _reaction(object handshake, list sent)
