# C types for handshake.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture.decode cimport Packet
from kzpcap.capture.scan cimport Flow
from kzpcap.flows cimport Stream
from kzpcap.tls cimport codes
from kzpcap.tls.records cimport Side

@cython.locals(side=Side, shaped="Py_ssize_t")
cdef bint _is_tls(tuple sides) except -1
@cython.locals(side=Side, packet=Packet, index="Py_ssize_t")
cpdef Py_ssize_t client_of(tuple sides) except -1
cdef bint _said(Side side, tuple kinds) except -1
cdef object _seen(Packet packet)
@cython.locals(version="long long", retries=list)
cdef object _build(Side client, Side server, long long direction, object before, object transport=*)
cdef tuple _server_hellos(Side side)
cdef object _first_data(Side side)
@cython.locals(total="long long", counted="long long", packet=Packet)
cdef long long _flight(Side server, object before) except -1
cdef object _first(Side side, long long kind)
cdef object _client_key_exchange(Side side)
cdef tuple _alerts(Side side, bint from_client)
cdef tuple _chains(Side side, long long version)
cdef tuple _alternatives(Side server, long long version)
cdef tuple _client_hellos(Side side, bint is_dtls)
cdef list _parsed(Side side, bint alternative, bint is_dtls)
@cython.locals(packet=Packet, events=list)
cdef str _history(Side client, Side server, list retries)
