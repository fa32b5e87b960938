"""Ratings that LIBMF learns in a second of processor time, on one thread.

    libmf_rate.py LIBRARY RATINGS FACTORS EPOCHS

RATINGS is a file of (i32 user, i32 item, f32 rating), as LIBMF has them in memory. Its time for 1 + EPOCHS epochs less its time
for one is that of EPOCHS, so that what it does before the first one (copying, shuffling, sorting into blocks) is left out.
"""

import ctypes
import os
import sys
import time

NODE_BYTES = 12
BINS = 20


class Problem(ctypes.Structure):
    """`mf_problem`."""

    _fields_ = [("m", ctypes.c_int), ("n", ctypes.c_int), ("nnz", ctypes.c_longlong), ("R", ctypes.c_void_p)]


class Parameter(ctypes.Structure):
    """`mf_parameter`."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ["fun", "k", "nr_threads", "nr_bins", "nr_iters"]),
        *((name, ctypes.c_float) for name in ["lambda_p1", "lambda_p2", "lambda_q1", "lambda_q2", "eta"]),
        *((name, ctypes.c_bool) for name in ["do_nmf", "quiet", "copy_data"]),
    ]


def load(library):
    lib = ctypes.CDLL(library)
    lib.mf_get_default_param.restype = Parameter
    lib.mf_train.restype = ctypes.c_void_p
    lib.mf_train.argtypes = [ctypes.POINTER(Problem), Parameter]
    lib.mf_destroy_model.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
    return lib


def read(path):
    """The ratings as a problem, and the memory that they are in."""
    nodes = ctypes.create_string_buffer(os.path.getsize(path))
    with open(path, "rb") as file:
        file.readinto(nodes)
    ids = memoryview(nodes).cast("B")[: len(nodes) // NODE_BYTES * NODE_BYTES].cast("i")
    users, items = max(ids[0::3]) + 1, max(ids[1::3]) + 1
    return Problem(users, items, len(ids) // 3, ctypes.addressof(nodes)), nodes


def seconds(lib, problem, factors, epochs):
    parameter = lib.mf_get_default_param()
    parameter.k, parameter.nr_iters, parameter.nr_threads, parameter.nr_bins = factors, epochs, 1, BINS
    parameter.lambda_p2 = parameter.lambda_q2 = parameter.eta = 0.05
    parameter.quiet, parameter.copy_data = True, True
    start = time.process_time()
    model = ctypes.c_void_p(lib.mf_train(ctypes.byref(problem), parameter))
    took = time.process_time() - start
    if not model:
        sys.exit("LIBMF refused the parameters")
    lib.mf_destroy_model(ctypes.byref(model))
    return took


def main():
    library, ratings, factors, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    lib = load(library)
    problem, nodes = read(ratings)
    one = seconds(lib, problem, factors, 1)
    more = seconds(lib, problem, factors, 1 + epochs)
    print(problem.nnz * epochs / (more - one))
    del nodes


if __name__ == "__main__":
    main()
