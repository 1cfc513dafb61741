# C types for flows.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes
from kzpcap.capture.packet cimport Packet
from kzpcap.capture.flow cimport Flow

cdef long long WINDOW, LAST, HALF

cdef class Stream:
    cdef readonly list packets
    cdef public list runs
    cdef readonly list starts, pieces, conflicts
    cdef readonly bint from_start, cut
    cdef readonly long long base, strays

    cpdef Packet packet_at(self, long long offset)

@cython.locals(low="Py_ssize_t", high="Py_ssize_t", middle="Py_ssize_t", start="long long")
cpdef Py_ssize_t index_at(list starts, long long offset) except -1
cpdef long long distance(long long seq, long long base) except? -0x80000001
@cython.locals(packet=Packet, found=list)
cpdef list direction_packets(Flow flow, long long direction)
@cython.locals(packet=Packet, data=list, syns=list, stream=Stream)
cpdef Stream reassemble(list packets, bint last_wins=*, object last=*, object lost=*)
@cython.locals(syn=Packet, packet=Packet, first="long long", offset="long long", lowest="long long")
cdef tuple _base(list syns, list data)
@cython.locals(packet=Packet, offset="long long", end="long long", at="long long", stop="long long", tail="long long", index="Py_ssize_t", begin="Py_ssize_t", finish="Py_ssize_t", alone=bint, same=bint, keep_alive=bint, body=bytes, ours=bytes, theirs=bytes, starts=list, ends=list, bodies=list, owners=list, runs=list)
cdef void _place(Stream stream, list packets, object lost) except *
@cython.locals(packet=Packet, found=set, right=set)
cpdef set damaged(list packets)
@cython.locals(packet=Packet, found=set)
cpdef set discarded(list packets)
@cython.locals(packet=Packet, end="long long", found=set, sent=list)
cpdef set acknowledge_too_much(list packets)
@cython.locals(packet=Packet, started=bint, sent="long long", ahead="long long", end="long long", waiting=list, odd=list)
cpdef tuple acknowledges_unsent(list packets, long long client)
