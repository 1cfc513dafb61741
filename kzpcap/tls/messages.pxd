# C types for messages.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.wire cimport Reader

@cython.locals(names=Reader, kind="Py_ssize_t", length="Py_ssize_t")
cpdef bytes host_name(bytes body)
@cython.locals(names=list, reader=Reader)
cpdef tuple protocol_names(bytes body)
@cython.locals(reader=Reader)
cpdef tuple numbers(bytes body, Py_ssize_t size, Py_ssize_t vector)
@cython.locals(length="Py_ssize_t", end="Py_ssize_t", kind="Py_ssize_t", size="Py_ssize_t", found=list)
cdef tuple _extensions(Reader reader)
@cython.locals(reader=Reader, version="Py_ssize_t")
cpdef object client_hello(bytes body, bint complete, bint dtls=*)
@cython.locals(reader=Reader, version="Py_ssize_t", suite="Py_ssize_t")
cpdef object server_hello(bytes body, bint complete)
@cython.locals(reader=Reader, found=list, end="Py_ssize_t")
cpdef tuple certificate_list(bytes body, Py_ssize_t version)
