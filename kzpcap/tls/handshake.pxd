# C types for handshake.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture.packet cimport Packet
from kzpcap.capture.flow cimport Flow
from kzpcap.flows cimport Stream
from kzpcap.tls cimport codes
from kzpcap.tls.records cimport Message, Side
from kzpcap.tls.seen cimport Handshake

@cython.locals(stream=Stream)
cdef bint _talks_otherwise(Side client, Side server) except -1
@cython.locals(packet=Packet, begin="long long", answered=bint)
cdef bint _acknowledges_nothing(list client, list server) except -1
@cython.locals(side=Side, shaped="Py_ssize_t")
cdef bint _is_tls(tuple sides) except -1
@cython.locals(side=Side, packet=Packet, index="Py_ssize_t")
cpdef Py_ssize_t client_of(tuple sides) except -1
@cython.locals(message=Message)
cdef bint _said(Side side, tuple kinds) except -1
cdef object _seen(Packet packet)
@cython.locals(version="long long", retries=list, found=Handshake)
cdef Handshake _build(Side client, Side server, long long direction, object before, object transport=*)
@cython.locals(message=Message)
cdef tuple _server_hellos(Side side)
cdef object _first_data(Side side, long long behind)
cdef long long _answered(tuple hellos, tuple answers) except -1
cdef long long _data_behind(Side side, long long frame) except -1
@cython.locals(total="long long", counted="long long", packet=Packet)
cdef long long _flight(Side server, object before) except -1
@cython.locals(message=Message)
cdef object _first(Side side, long long kind)
@cython.locals(message=Message)
cdef tuple _tickets(Side server)
@cython.locals(message=Message)
cdef object _client_key_exchange(Side side)
cdef tuple _alerts(Side side, bint from_client)
@cython.locals(message=Message)
cdef tuple _chains(Side side, long long version)
cdef tuple _alternatives(Side server, long long version)
cdef tuple _client_hellos(Side side, bint is_dtls)
@cython.locals(message=Message)
cdef list _parsed(Side side, bint alternative, bint is_dtls)
@cython.locals(packet=Packet, events=list)
cdef str _history(Side client, Side server, list retries)
