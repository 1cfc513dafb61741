# C types for records.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture.packet cimport Packet
from kzpcap.flows cimport Stream, index_at
from kzpcap.tls cimport codes

cdef class Message:
    cdef readonly long long kind, offset, first_frame
    cdef readonly bytes body
    cdef readonly bint complete
    cdef readonly Packet packet

cdef class Side:
    cdef readonly Stream stream
    cdef public object begin, malformed
    cdef public list messages, alerts, encrypted, order
    cdef public Packet cipher_change
    cdef public long long application_bytes
    cdef public tuple sslv2
    cdef public bint lost, asked, full

    cdef void note(self, Packet packet, str letter) except *

@cython.locals(kind="Py_ssize_t", length="Py_ssize_t", follow="Py_ssize_t", size="Py_ssize_t")
cpdef bint looks_like_record(bytes data, Py_ssize_t at, bint strict=*) except -1
@cython.locals(side=Side)
cpdef Side read(Stream stream, bint upgraded=*)
@cython.locals(data=bytes, at="Py_ssize_t", size="Py_ssize_t", index="Py_ssize_t", end="long long", starts=list)
cdef object _start(Side side, object run, object expected, bint upgraded)
cdef bint _opening(bytes data, Py_ssize_t at, Side side) except -1
@cython.locals(data=bytes, pending=bytearray, marks=list, size="Py_ssize_t", kind="Py_ssize_t", length="Py_ssize_t", start="Py_ssize_t", stop="Py_ssize_t", offset="Py_ssize_t", stream=Stream, packet=Packet)
cdef Py_ssize_t _run(Side side, object run, Py_ssize_t at) except -1
@cython.locals(data=bytes, place="Py_ssize_t", index="Py_ssize_t", end="long long", starts=list)
cdef object _resume(Side side, object run, Py_ssize_t at)
cpdef bint is_clear_hello(bytes data, Py_ssize_t start, Py_ssize_t stop) except -1
@cython.locals(at="Py_ssize_t", length="Py_ssize_t", whole=bint, kind="Py_ssize_t", body=bytes, offset="Py_ssize_t", packet=Packet, first=Packet)
cdef void _messages(Side side, bytearray pending, list marks, bint final) except *
@cython.locals(index="Py_ssize_t", mark=tuple)
cdef Py_ssize_t _stream_offset(list marks, Py_ssize_t position) except -1
