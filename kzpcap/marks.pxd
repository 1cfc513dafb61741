# C types for marks.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes
from kzpcap.capture.packet cimport Packet
from kzpcap.capture.flow cimport Flow
from kzpcap.flows cimport distance
from kzpcap.tls.seen cimport Handshake

cpdef object mark(Packet packet, str what)
@cython.locals(packet=Packet)
cpdef object client_stamps(list packets)
@cython.locals(packet=Packet)
cpdef object first_marked(list packets, str what, long long wanted, long long unwanted)
@cython.locals(packet=Packet, isn="long long", carried="long long", taken=bint)
cpdef object syn_ack(list sent, list answered)
@cython.locals(packet=Packet, found=list)
cpdef tuple resets(list packets, Flow flow)
@cython.locals(packet=Packet, first=Packet, end="long long", found=bint)
cpdef bint acknowledges_missing(list own, list others) except -1
@cython.locals(packet=Packet, first=Packet, own=Packet, begin="long long")
cpdef object closed_by_server(list sent, list answered, long long hello)
@cython.locals(packet=Packet, named=dict, marks=list, data="long long")
cpdef tuple server_marks(Handshake handshake, list packets)
@cython.locals(packet=Packet, first=Packet, frame="long long", copies=list)
cpdef tuple probes(Handshake handshake, list packets)
