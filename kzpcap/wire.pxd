# C types for wire.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython

cdef class Reader:
    cdef readonly bytes data
    cdef public Py_ssize_t pos
    cdef readonly Py_ssize_t end

    cpdef Py_ssize_t left(self)
    @cython.locals(start="Py_ssize_t", stop="Py_ssize_t")
    cpdef bytes take(self, Py_ssize_t count)
    @cython.locals(start="Py_ssize_t", stop="Py_ssize_t", at="Py_ssize_t", value="unsigned long long")
    cpdef unsigned long long uint(self, Py_ssize_t size) except? 0xFFFFFFFFFFFFFFFF
    cpdef bytes vector(self, Py_ssize_t size)
    @cython.locals(length="Py_ssize_t", stop="Py_ssize_t", found=list)
    cpdef tuple uints(self, Py_ssize_t size, Py_ssize_t vector)
    @cython.locals(length="Py_ssize_t", start="Py_ssize_t")
    cpdef Reader sub(self, Py_ssize_t size)
