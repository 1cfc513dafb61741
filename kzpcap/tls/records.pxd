# C types for records.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython

@cython.locals(kind="Py_ssize_t", length="Py_ssize_t", follow="Py_ssize_t", size="Py_ssize_t")
cpdef bint looks_like_record(bytes data, Py_ssize_t at, bint strict=*) except -1
@cython.locals(data=bytes, at="Py_ssize_t", size="Py_ssize_t", start="Py_ssize_t", offset="Py_ssize_t")
cdef object _start(object side, object run, object expected, bint upgraded)
cdef bint _opening(bytes data, Py_ssize_t at, object side) except -1
@cython.locals(data=bytes, pending=bytearray, marks=list, size="Py_ssize_t", kind="Py_ssize_t", length="Py_ssize_t", start="Py_ssize_t", stop="Py_ssize_t", offset="Py_ssize_t")
cdef Py_ssize_t _run(object side, object run, Py_ssize_t at) except -1
@cython.locals(data=bytes, place="Py_ssize_t", start="Py_ssize_t", offset="Py_ssize_t")
cdef object _resume(object side, object run, Py_ssize_t at)
cpdef bint is_clear_hello(bytes data, Py_ssize_t start, Py_ssize_t stop) except -1
@cython.locals(length="Py_ssize_t", whole=bint, kind="Py_ssize_t", body=bytes, end="Py_ssize_t", offset="Py_ssize_t", last="Py_ssize_t")
cdef void _messages(object side, bytearray pending, list marks, bint final) except *
@cython.locals(begin="Py_ssize_t", place="Py_ssize_t")
cdef Py_ssize_t _stream_offset(list marks, Py_ssize_t position) except -1
