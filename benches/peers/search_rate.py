"""Seconds that faiss' flat index, or numpy, takes for the largest inner products, on one thread, one query a call.

    search_rate.py faiss|numpy ROWS WIDTH USERS N

ROWS is a file of rows of WIDTH floats: those of all items, then those of USERS users. Each line of standard input is a
number of queries to make, and is answered by their seconds.
"""

import os
import sys
import time

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"

import numpy  # noqa: E402  (the number of threads is read when it is loaded)


def search(kind, items, n):
    if kind == "faiss":
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatIP(items.shape[1])
        index.add(items)
        return lambda user: index.search(user[None], n)

    def by_numpy(user):
        scores = items @ user
        best = numpy.argpartition(scores, len(scores) - n)[len(scores) - n :]
        return best[numpy.argsort(-scores[best])]

    return by_numpy


def main():
    kind, path, width, users, n = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    rows = numpy.fromfile(path, numpy.float32).reshape(-1, width)
    items, asked = rows[:-users], rows[-users:]
    find = search(kind, items, n)
    find(asked[0])
    for line in sys.stdin:
        queries = int(line)
        start = time.perf_counter()
        for number in range(queries):
            find(asked[number % users])
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
